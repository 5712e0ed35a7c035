"""Size, speed and accuracy of every export format: ``python -m benchmarks.exports --data DIR [--models default RUN_OR_BUNDLE ...]``.

It builds all formats of each model as ``mien export`` does, opens each with the runtime, and compares it with its source: size, share of
equal answers, accuracy on PublicTest, and milliseconds per face on one thread. The formats are timed in turns, so that other load on the
machine affects all of them. The first call of a turn is not timed, because an engine prepares itself again when the batch size changes. If
a format is refused, its row gives the reason. The table is for docs/edge.md (``python -m tools.readme``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.timing import machine, markdown
from mien.classify import Classifier
from mien.contract import FORMATS
from mien.errors import ExportError
from mien.train.evaluation.metrics import wilson
from mien.train.export.formats import convert
from mien.train.export.sources import open_source
from tools.sources import keras_source

RESULT = Path(__file__).parent / "results" / "exports.json"
BATCHES = (1, 32)
CALLS = 4  # timed calls per turn
Row = dict[str, Any]


def main() -> None:
    """Build, compare and time the formats, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013's folder or CSV")
    parser.add_argument("--models", nargs="+", default=["default"], metavar="MODEL", help="shipped models, bundle folders or runs")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--rounds", type=int, default=15, help="timed turns per format (default %(default)s)")
    parser.add_argument("--json", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = [row for model in options.models for row in measure(model, options.data, options.formats, options.rounds)]
    packages = ("numpy", "onnxruntime", "ai-edge-litert", "openvino")
    result = {"machine": machine(packages), "rows": rows}
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{table(result)}\n")


def measure(model: str, data: Path, formats: list[str], rounds: int) -> list[Row]:
    """Return one row per format of a model."""
    rows: list[Row] = []
    classifiers: dict[str, Classifier] = {}
    with (
        tempfile.TemporaryDirectory(prefix="mien-exports-") as scratch,
        open_source(model, data=data, keras_file=keras_source(model)) as source,
    ):
        for kind in formats:
            row: Row = {"model": source.bundle.spec.name, "format": kind}
            rows.append(row)
            try:
                written = convert(source.bundle, kind, Path(scratch) / kind, source.sample, network=source.network)
            except ExportError as refused:
                row["refused"] = str(refused)
                continue
            row |= {"method": written.method, **written.verdict.to_dict()}
            classifiers[kind] = Classifier(written.bundle, threads=1)
        for kind, times in paced(classifiers, source.sample.chips, rounds).items():
            next(row for row in rows if row["format"] == kind)["ms_a_face"] = times
    return rows


def paced(classifiers: Mapping[str, Classifier], chips: Any, rounds: int) -> dict[str, dict[str, float]]:
    """Return name -> batch size -> median milliseconds per face. The classifiers run in turns."""
    taken: dict[tuple[str, int], list[float]] = {(name, batch): [] for name in classifiers for batch in BATCHES}
    for _ in range(rounds):
        for (name, batch), times in taken.items():
            given = chips[:batch]
            classifiers[name].logits(given)
            for _ in range(CALLS):
                began = time.perf_counter()
                classifiers[name].logits(given)
                times.append(1000 * (time.perf_counter() - began) / len(given))
    return {name: {str(batch): statistics.median(taken[name, batch]) for batch in BATCHES} for name in classifiers}


def table(result: Mapping[str, Any]) -> str:
    """Return the Markdown table, with the refusals below it."""
    head = (
        "model",
        "format",
        "weights",
        "MB",
        "of float32",
        "same answer",
        "largest difference",
        "PublicTest accuracy (95 % interval)",
        "points lost",
        *(f"ms a face, batch {batch} (times as fast)" for batch in BATCHES),
    )
    sources = {row["model"]: row["ms_a_face"] for row in result["rows"] if row["format"] == "onnx" and "refused" not in row}
    lines, refusals = [], []
    for row in result["rows"]:
        name = (row["model"], f"`{row['format']}`")
        if "refused" in row:
            lines.append((*name, "refused", *[""] * (len(head) - 3)))
            refusals.append(f"- {row['model']} as `{row['format']}`: {row['refused']}")
            continue
        low, high = wilson(round(row["accuracy"] * row["chips"]), row["chips"])
        lines.append(
            (
                *name,
                row["method"],
                f"{row['bytes'] / 1e6:.2f}",
                f"{row['share']:.0%}",
                f"{row['agreement']:.2%}",
                f"{row['max_probability_difference']:.2g}",
                f"{row['accuracy']:.2%} ({low:.2%} to {high:.2%})",
                f"{100 * (row['source_accuracy'] - row['accuracy']):+.2f}",
                *(_pace(ms, sources.get(row["model"], {}).get(batch)) for batch, ms in row["ms_a_face"].items()),
            )
        )
    return "\n\n".join(filter(None, (markdown(head, lines), "\n".join(refusals), f"{result['machine']}.")))


def _pace(ms: float, source_ms: float | None) -> str:
    """Return milliseconds and, if the source was timed in the same run, the speed relative to the source."""
    return f"{ms:.2f}" if source_ms is None else f"{ms:.2f} ({source_ms / ms:.1f})"


if __name__ == "__main__":
    main()
