"""Writes the figures of the README and some pages of the documentation: ``python -m tools.readme``. ``--check`` only compares.

It replaces the blocks between ``<!-- figures: NAME -->`` and ``<!-- end -->`` with tables. The tables come from the metrics.json of the
shipped bundle and from the files in benchmarks/results, which the benchmarks write with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.cost import table as cost_table
from benchmarks.exports import table as exports_table
from benchmarks.timing import markdown
from mien.bundles import DEFAULT, open_bundle, shipped
from mien.contract import LABELS

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/evaluation.md", "docs/video.md", "docs/edge.md", "docs/web.md", "docs/benchmarks.md")
RESULTS = ROOT / "benchmarks" / "results"
FOLD_FIGURES = {
    "accuracy": "accuracy, %",
    "mean_recall": "mean recall, %",
    "coverage": "answered, %",
    "right": "right of these, %",
    "ece": "ECE, %",
}
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SPLIT_NAMES = {
    "photos": "press and web photos, whole pipeline",
    "ferplus7": "PrivateTest under FER+'s labels, seven of them",
    "ferplus": "PrivateTest under FER+'s labels, all eight",
    "private": "PrivateTest under FER2013's own labels",
}


def main() -> None:
    """Write the figures into the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name in PAGES:
        page = ROOT / name
        old = page.read_text(encoding="utf-8")
        new = rewritten(old)
        if check and old != new:
            raise SystemExit(f"{name} has old figures; run: python -m tools.readme")
        page.write_text(new, encoding="utf-8")


def rewritten(text: str) -> str:
    """Return ``text`` in which every block of figures is replaced."""
    return BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match[2]]()}\n{match[3]}", text)


def accuracy() -> str:
    """Return the accuracy tables of the shipped default: one per set of faces, and one of the recall of each label."""
    splits = _metrics()["splits"]
    rows, recalls = [], []
    for key, name in SPLIT_NAMES.items():
        s = splits[key]
        mean = s["mean_recall"]
        rows.append(
            (
                name,
                f"{s['n']:,}",
                _interval(s["accuracy"]),
                f"{_interval(mean)}, {len(mean['labels'])} labels",
                f"{s['ece']:.3f} ({s['ece_by_chance']:.3f})",
                f"{s['kept']['coverage']:.1%}",
                f"{s['kept']['accuracy']['value']:.1%}",
            )
        )
        recalls.append((name, *(_recall(s["per_class"].get(label)) for label in LABELS)))
    head = ("images", "n", "accuracy (95 % interval)", "mean recall (95 % interval)", "ECE (by chance)", "answered", "right of these")
    return f"{markdown(head, rows)}\n\n{markdown(('recall, % (faces)', *LABELS), recalls)}"


def confusion() -> str:
    """Return the confusion matrix of the default on the photos, in percent of the photos of each label."""
    s = _metrics()["splits"]["photos"]
    rows = []
    for label, counts in zip(LABELS, s["confusion"], strict=True):
        faces = s["per_class"][label]["support"]
        rows.append((f"{label} ({faces:,})", *(f"{100 * count / faces:.0f}" for count in counts)))
    return markdown(("label (photos)", *(f"read as {label}" for label in LABELS)), rows)


def folds() -> str:
    """Return the cross-validation by person of the models that follow the operating point's rule: mean of the folds, and their spread."""
    rows = []
    for name in ("default", "nano"):
        file = open_bundle(name).folder / "operating_point.json"
        point = json.loads(file.read_text(encoding="utf-8"))
        columns = {key: [fold[key] for fold in point["cross_validated"]] for key in point["cross_validated"][0]}
        figures = (f"{100 * mean(columns[key]):.1f} ± {100 * stdev(columns[key]):.1f}" for key in FOLD_FIGURES)
        taus, shares = (f"{min(columns[key]):g} to {max(columns[key]):g}" for key in ("tau", "share"))
        rows.append((f"`{name}`", f"{point['tau']:g} ({taus})", f"{point['share']:g} ({shares})", *figures))
    return markdown(("model", "tau (in the folds)", "share (in the folds)", *FOLD_FIGURES.values()), rows)


def models() -> str:
    """Return the table of the bundles in the package: their labels, their accuracy and their cost."""
    rows = []
    for name in shipped():
        metrics = _metrics(name)
        size, splits = metrics["model"]["size"], metrics["splits"]
        photos = splits["photos"]
        rows.append(
            (
                f"`{name}`",
                str(len(metrics["model"]["labels"])),
                f"{_share(photos)} / {100 * photos['mean_recall']['value']:.1f}",
                f"{100 * photos['per_class']['neutral']['recall']:.0f}",
                f"{_share(splits['ferplus7'])} / {100 * splits['ferplus7']['mean_recall']['value']:.1f}",
                *(_share(splits.get(split)) for split in ("ferplus", "private")),
                f"{size['parameters'] / 1e6:.2f} M",
                f"{size['mmac']:.0f}",
                f"{size['bytes'] / 1e6:.2f}",
            )
        )
    head = (
        "model",
        "labels",
        "photos, accuracy / mean recall of five, %",
        "recall of neutral",
        "FER+, seven labels, accuracy / mean recall, %",
        "FER+, eight labels, %",
        "FER2013's labels, %",
        "parameters",
        "MMAC per face",
        "MB",
    )
    return markdown(head, rows)


def scenes() -> str:
    """Return the sentence of the scenes benchmark."""
    return str(_result("scenes")["markdown"])


def part_of_scenes(part: str) -> str:
    """Return the tables of one part of the scenes benchmark, or the command that makes them."""
    file = RESULTS / f"scene-{part}.json"
    if not file.is_file():
        return f"Not measured yet: the command above, with `--json benchmarks/results/{file.name}`, then `python -m tools.readme`."
    return str(_result(file.stem)["markdown"])


def plain(name: str, digits: int) -> str:
    """Return the table of a benchmark whose result is names and numbers, with the machine on which it ran."""
    result = _result(name)
    rows = [(what, f"{value:.{digits}f}") for what, value in result["figures"].items()]
    return f"{markdown(('what', 'figure'), rows)}\n\n{result['machine']}."


def tracking() -> str:
    """Return the mean of the tracking benchmark over its scenes, and how steady the labels are."""
    result = _result("tracking")
    rows = [(tracker, f"{idf1:.3f}", switches) for scene, tracker, idf1, switches, _ in result["tracking"] if scene == "all"]
    steady = [(name, f"{value:.3g}") for name, value in result["steadiness"].items()]
    return f"{markdown(('tracker', 'IDF1, mean of the scenes', 'id switches'), rows)}\n\n{markdown(('labels', 'figure'), steady)}"


def cost() -> str:
    """Return how time and memory grow with the work."""
    result = _result("cost")
    return "\n\n".join((*(cost_table(axis, points) for axis, points in result["axes"].items()), f"{result['machine']}."))


def exports() -> str:
    """Return the rows of the exports benchmark, one per format."""
    return exports_table(_result("exports"))


def peers() -> str:
    """Return the table that compares Mien with other packages, and the time that each takes per photo."""
    return str(_result("peers")["table"])


def peers_page() -> str:
    """Return all figures of docs/peers.md."""
    return str(_result("peers")["page"])


BLOCKS: dict[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "confusion": confusion,
    "folds": folds,
    "models": models,
    "scenes": scenes,
    "scene_sizes": partial(part_of_scenes, "sizes"),
    "scene_rolls": partial(part_of_scenes, "rolls"),
    "speed": partial(plain, "inference", 2),
    "video": partial(plain, "video", 1),
    "page": partial(plain, "page", 1),
    "tracking": tracking,
    "cost": cost,
    "exports": exports,
    "peers": peers,
    "peers_page": peers_page,
}


def _interval(share: dict[str, float]) -> str:
    return f"**{share['value']:.2%}** ({share['low']:.2%} to {share['high']:.2%})"


def _recall(row: dict[str, Any] | None) -> str:
    return "-" if row is None or not row["support"] else f"{100 * row['recall']:.0f} ({row['support']:,})"


def _share(split: dict[str, Any] | None) -> str:
    if split is None:
        return "-"
    value, low, high = (100 * split["accuracy"][key] for key in ("value", "low", "high"))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _metrics(name: str = DEFAULT) -> dict[str, Any]:
    metrics = open_bundle(name).metrics()
    if metrics is None:
        raise SystemExit(f"the shipped {name} has no metrics.json; run mien evaluate")
    return metrics


def _result(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return values


if __name__ == "__main__":
    main()
