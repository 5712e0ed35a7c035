"""A run in every format: the same answers, labels and calibration as its source, or no bundle at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from mien.bundles import Bundle, open_bundle
from mien.classify import Classifier
from mien.contract import FORMATS
from mien.errors import ExportError, UsageError
from mien.train.data.dataset import Dataset
from mien.train.export.bundle import export_run
from mien.train.export.formats import convert, graphs
from mien.train.export.formats.judge import TOLERANCES, Sample, Verdict, sample_of
from mien.train.export.formats.litert import source_of
from mien.train.export.sources import open_source
from mien.train.loop.fit import fit
from mien.train.loop.trained import inference_model
from tests.support import tiny_bundle
from tests.train.shapes import tiny_recipe

# What the TensorFlow converter and LiteRT's calibrator say; theirs to mend.
pytestmark = [pytest.mark.filterwarnings("ignore:.*preserve_all_tensors:UserWarning")]
# Enough weights that the nodes around them do not decide the size of an 8-bit graph.
WIDER = {"stem": 8, "widths": [32, 64, 96], "depths": [1, 1, 1], "dropout": 0.1}


@pytest.fixture(scope="module")
def run(shapes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats") / "run"
    fit(tiny_recipe(epochs=6, flip_average=True, **{"model.options": WIDER, "loss.label_smoothing": 0.05}), shapes, folder)
    return folder


@pytest.fixture(scope="module")
def source(run: Path, shapes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_run(run, shapes, tmp_path_factory.mktemp("source") / "wider", target_accuracy=0.3)


@pytest.fixture(scope="module")
def sample(source: Bundle, shapes: Dataset) -> Sample:
    return sample_of(source.spec, shapes)


@pytest.fixture(scope="module", params=FORMATS)
def written(request: pytest.FixtureRequest, run: Path, source: Bundle, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("out") / request.param
    return convert(source, request.param, out, sample, network=lambda: inference_model(run)).bundle


def test_every_format_answers_as_its_source(written: Bundle, source: Bundle, shapes: Dataset) -> None:
    chips = np.asarray(shapes.images[shapes.rows("private")])
    wanted, found = (Classifier(bundle).probabilities(chips) for bundle in (source, open_bundle(written.folder)))
    assert wanted.std() > 0.05, "a network that answers the same for every chip would agree with anything"
    tolerance = TOLERANCES[written.spec.format]
    assert np.abs(found - wanted).max() <= (0.35 if tolerance.difference == 1 else tolerance.difference)
    assert (found.argmax(1) == wanted.argmax(1)).mean() >= 0.9


def test_every_format_keeps_labels_and_calibration(written: Bundle, source: Bundle) -> None:
    assert written.spec.updated(model_sha256="", format="onnx") == source.spec.updated(model_sha256="")


def test_every_format_says_how_it_was_compared(written: Bundle, source: Bundle, sample: Sample) -> None:
    story = json.loads((written.folder / "export.json").read_text())
    assert (story["format"], story["source"]["sha256"]) == (written.spec.format, source.spec.model_sha256)
    assert story["comparison"]["chips"] == len(sample.chips)
    assert f"as {written.spec.format}" in (written.folder / "card.md").read_text()


def test_small_formats_are_small(written: Bundle, source: Bundle) -> None:
    most = {"onnx-fp16": 0.55, "onnx-int8": 0.3, "litert-int8": 0.3, "openvino": 0.8}.get(written.spec.format, 1.1)
    size = sum(file.stat().st_size for file in written.model_files)
    assert size <= most * source.model_path.stat().st_size


def test_ranges_from_the_wrong_chips_are_noticed(source: Bundle, sample: Sample, tmp_path: Path) -> None:
    # 8-bit ranges of black chips fit nothing else; the export falls back on 8-bit weights, which need no ranges.
    black = Sample(sample.name, sample.chips, sample.truth, np.zeros_like(sample.chips[:8]))
    export = convert(source, "onnx-int8", tmp_path / "out", black)
    assert export.method.startswith("weights in 8 bits")
    assert export.verdict.agreement >= 0.95


def test_nothing_is_written_when_the_source_is_another_network(source: Bundle, sample: Sample, shapes: Dataset, tmp_path: Path) -> None:
    fit(tiny_recipe(epochs=1, seed=5), shapes, tmp_path / "other")
    with pytest.raises(ExportError, match="answers agree"):
        convert(source, "litert", tmp_path / "out", sample, network=lambda: inference_model(tmp_path / "other"))
    assert not (tmp_path / "out").exists()


def test_the_keras_source_of_a_bundle_is_recognised(run: Path, source: Bundle, sample: Sample) -> None:
    network = source_of(source, run / "model.keras", sample.chips[:20])  # the file holds the network without its mirror image
    wanted = Classifier(source).logits(sample.chips[:20])
    assert np.asarray(network(sample.chips[:20, ..., None].astype(np.float32))) == pytest.approx(wanted, abs=1e-3)


def test_another_keras_file_is_not_taken_for_the_source(run: Path, tmp_path: Path) -> None:
    other = tiny_bundle(tmp_path / "other", chip_size=24)
    with pytest.raises(ExportError, match="is not the source"):
        source_of(other, run / "model.keras", np.zeros((4, 24, 24), np.uint8))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        pytest.param("onnx-int8", "add --data", id="ranges-need-training-chips"),
        pytest.param("litert", "add --keras", id="litert-needs-keras"),
        pytest.param("coreml", "unknown format 'coreml'; expected one of onnx", id="unknown-format"),
    ],
)
def test_what_a_format_needs_is_said(kind: str, message: str, tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny")
    with open_source(tmp_path / "tiny") as source, pytest.raises(UsageError, match=message):
        convert(source.bundle, kind, tmp_path / "out", source.sample, network=source.network)
    assert not (tmp_path / "out").exists()


def test_an_eight_bit_bundle_is_no_source(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny", format="onnx-int8")
    with open_source(tmp_path / "tiny") as source, pytest.raises(UsageError, match="export from the float ONNX bundle"):
        convert(source.bundle, "onnx", tmp_path / "out", source.sample)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        pytest.param({}, None, id="good"),
        pytest.param({"agreement": 0.94}, "94.00% of answers agree", id="agreement"),
        pytest.param({"accuracy": 0.684}, "0.60 points of accuracy", id="accuracy"),
        pytest.param({"accuracy": 0.71}, None, id="better-than-its-source"),
        pytest.param({"accuracy": None, "source_accuracy": None}, None, id="no-labels"),
        pytest.param({"bytes": 310}, "weighs 31.0% of float32", id="size"),
    ],
)
def test_a_verdict_names_what_is_beyond_the_tolerance(change: dict[str, object], fault: str | None) -> None:
    values = {
        "sample": "PublicTest", "chips": 9, "agreement": 0.98, "max_probability_difference": 0.4, "source_accuracy": 0.69,
        "accuracy": 0.686, "bytes": 280, "float32_bytes": 1000,
    }  # fmt: skip
    faults = Verdict(**{**values, **change}).faults(TOLERANCES["onnx-int8"])
    assert [fault in text for text in faults] == ([True] if fault else [])


def test_half_weights_widen_to_what_was_stored(source: Bundle) -> None:
    whole = graphs.float32(source.model_path.read_bytes())
    again = graphs.float32(graphs.float16(whole).SerializeToString())
    before, after = ({t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer} for m in (whole, again))
    assert before.keys() == after.keys()
    assert not [node for node in again.graph.node if node.op_type == "Cast"]
    for name, values in before.items():
        stored = values.astype(np.float16).astype(values.dtype) if values.dtype == np.float32 and values.size >= graphs.LARGE else values
        assert np.array_equal(after[name], stored), name


def test_normalisation_and_the_answer_stay_in_float(source: Bundle) -> None:
    graph = onnx.load(source.model_path).graph
    for number, node in enumerate(graph.node):
        node.name = f"n{number}"
    kind = {node.name: node.op_type for node in graph.node}
    outer = [kind[name] for name in graphs.outer_nodes(graph)]
    assert "Conv" not in outer
    assert {"ReduceMean", "Sqrt"} <= set(outer)
    assert outer.count("MatMul") == 2, "the answer's layer, for the chip and for its mirror image"
