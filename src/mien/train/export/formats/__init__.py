"""Writes the model of a bundle in another format, if its answers are still those of the source."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from mien import __version__
from mien.bundles import CARD_FILE, Bundle, check_replaceable, open_bundle, put_in_place, write_bundle
from mien.classify import Classifier
from mien.contract import FORMATS, model_input
from mien.errors import ExportError, UsageError
from mien.train.export.formats import graphs
from mien.train.export.formats.judge import TOLERANCES, Sample, Verdict, judge

if TYPE_CHECKING:
    import keras

EXPORT_FILE = "export.json"
SCHEMA = "mien-export/1"
BATCH = 32

Parts = bytes | Sequence[bytes]


@dataclass(frozen=True)
class Export:
    """A written bundle, how its weights are stored, and how its answers compare with those of its source."""

    bundle: Bundle
    method: str
    verdict: Verdict


def convert(
    source: Bundle,
    kind: str,
    out: Path,
    sample: Sample,
    *,
    network: Callable[[], keras.Model] | None = None,
    overwrite: bool = False,
) -> Export:
    """Write a bundle in another format, with the labels, temperature and threshold of its source.

    Args:
        source: a float ONNX bundle.
        kind: the format, one of :data:`mien.contract.FORMATS`.
        out: bundle folder; it appears whole or not at all.
        sample: the chips on which source and export are compared, and the chips that set 8-bit ranges.
        network: function that gives the Keras source; it is called only for LiteRT.
        overwrite: replace a folder that exists.

    Raises:
        ExportError: the export differs from its source by more than :data:`mien.train.export.formats.judge.TOLERANCES` allows.
        MissingExtraError: the format's tools are not installed.
        UsageError: ``out`` exists, or the format needs an input that is missing.
    """
    check_free(out, kind, overwrite)
    if source.spec.format not in ("onnx", "onnx-fp16"):
        raise UsageError(f"{source.folder} is {source.spec.format}; export from the float ONNX bundle that it was made of")
    if out.exists() and out.resolve() == source.folder.resolve():
        raise UsageError(f"{out} is the source itself; choose another folder")
    whole = graphs.float32(source.model_path.read_bytes())
    if source.spec.output_name:
        whole = graphs.with_output(whole, source.spec.output_name)
    wanted = Classifier(source).logits(sample.chips)
    refused = ""
    with tempfile.TemporaryDirectory(prefix="mien-export-") as scratch:
        draft = Path(scratch) / "bundle"
        for method, parts in _candidates(source, kind, whole, sample, network):
            bundle = write_bundle(draft, parts, source.spec.updated(format=kind, weights_of="", output_name=""))
            verdict = judge(wanted, Classifier(bundle), sample, whole.ByteSize())
            if faults := verdict.faults(TOLERANCES[kind]):
                refused = f"{method}: {'; '.join(faults)}"
                continue
            _describe(draft, source, bundle, method, verdict)
            put_in_place(draft, out)
            return Export(open_bundle(out), method, verdict)
    raise ExportError(f"no {kind} of {source.spec.name} is close enough to its source on {len(wanted)} chips; {refused}")


def check_free(out: Path, kind: str, overwrite: bool) -> None:
    """Raise UsageError if the folder exists and may not be replaced, or if there is no such format."""
    if kind not in FORMATS:
        raise UsageError(f"unknown format {kind!r}; expected one of {', '.join(FORMATS)}")
    check_replaceable(out, overwrite)


def _candidates(
    source: Bundle,
    kind: str,
    whole: onnx.ModelProto,
    sample: Sample,
    network: Callable[[], keras.Model] | None,
) -> Iterator[tuple[str, Parts]]:
    """Yield (how the weights are stored, file contents). The best variant of the format comes first."""
    if kind.endswith("-int8") and sample.calibration is None:
        raise UsageError("8-bit ranges are set on training chips; add --data DIR, the model's data set")
    if kind == "onnx":
        yield "float32", whole.SerializeToString()
    elif kind == "onnx-fp16":
        yield "weights in float16, arithmetic in float32", graphs.float16(whole).SerializeToString()
    elif kind == "onnx-int8":
        yield "8-bit arithmetic", graphs.int8(whole, _batches(source, sample)).SerializeToString()
        yield "weights in 8 bits, arithmetic in float32", graphs.int8_weights(whole).SerializeToString()
    elif kind == "openvino":
        from mien.train.export.formats.openvino import to_openvino

        yield "weights in float16", to_openvino(whole)
    else:
        yield from _litert(source, kind, sample, network)


def _litert(
    source: Bundle,
    kind: str,
    sample: Sample,
    network: Callable[[], keras.Model] | None,
) -> Iterator[tuple[str, Parts]]:
    if network is None:
        raise UsageError(
            f"LiteRT is made from the Keras source, and {source.folder} has none; export from the run folder, "
            "or add --keras FILE.keras (those of the shipped models are in models/ of the repository)"
        )
    from mien.train.export.formats import litert

    model = litert.to_litert(network())
    if kind == "litert":
        yield "float32", model
        return
    rows = np.concatenate(list(_batches(source, sample)))
    yield "8-bit arithmetic", litert.int8(model, rows)
    yield "weights in 8 bits, arithmetic in float32", litert.int8_weights(model)


def _batches(source: Bundle, sample: Sample) -> Iterator[NDArray[np.float32]]:
    chips = sample.calibration if sample.calibration is not None else sample.chips
    for start in range(0, len(chips), BATCH):
        yield model_input(chips[start : start + BATCH], source.spec)


def _describe(folder: Path, source: Bundle, bundle: Bundle, method: str, verdict: Verdict) -> None:
    """Write export.json and a card. The card describes this export first; the card of the source follows."""
    spec = source.spec
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "mien": __version__,
        "format": bundle.spec.format,
        "method": method,
        "source": {"name": spec.name, "version": spec.version, "format": spec.format, "sha256": spec.model_sha256},
        "comparison": verdict.to_dict(),
    }
    (folder / EXPORT_FILE).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    accuracy = "" if verdict.accuracy is None else f", accuracy {verdict.accuracy:.2%} against {verdict.source_accuracy:.2%}"
    text = (
        f"# {spec.name} {spec.version} as {bundle.spec.format}\n\n{method.capitalize()}; {verdict.share:.1%} of the float32 graph's size. "
        f"Compared with its source on {verdict.chips:,} chips ({verdict.sample}): {verdict.agreement:.2%} of answers agree, largest "
        f"difference of a probability {verdict.max_probability_difference:.3g}{accuracy}. Labels, temperature and threshold are the "
        f"source's.\n"
    )
    card = source.folder / CARD_FILE
    rest = (
        f"\nWhat follows is the source's card; its figures are the source's.\n\n{card.read_text(encoding='utf-8')}"
        if card.is_file()
        else ""
    )
    (folder / CARD_FILE).write_text(text + rest, encoding="utf-8")
