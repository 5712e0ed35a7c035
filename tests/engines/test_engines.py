"""Every engine answers as onnxruntime does, from any thread, and says what is missing."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from mien.bundles import Bundle, open_bundle, write_bundle
from mien.classify import MICRO_BATCH, Classifier
from mien.contract import InputSpec, template_for
from mien.engines import open_session
from mien.errors import BundleError, MissingExtraError, UsageError
from mien.train.export.formats.openvino import to_openvino
from tests.support import linear_graph

SIDE, LABELS = 16, ("dark", "grey", "bright")
# tests.support.linear_graph(3, 16) as LiteRT: a flatten and a dense layer, converted by mien.train.export.formats.litert.to_litert.
LINEAR_LITERT = Path(__file__).parent.parent / "golden" / "linear.tflite"


def bundle_of(kind: str, folder: Path) -> Bundle:
    graph = linear_graph(len(LABELS), SIDE)
    parts = {
        "onnx": lambda: graph,
        "litert": LINEAR_LITERT.read_bytes,
        "openvino": lambda: to_openvino(onnx.load_model_from_string(graph)),
    }
    spec = InputSpec("linear", "0.1", LABELS, chip_size=SIDE, template=template_for(SIDE), format=kind)
    return write_bundle(folder, parts[kind](), spec)


@pytest.fixture(params=["onnx", "litert", "openvino"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    return bundle_of(request.param, tmp_path / "bundle")


def chips(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)


@pytest.mark.parametrize("count", [0, 1, 2, MICRO_BATCH, MICRO_BATCH + 1])
def test_an_engine_answers_for_any_number_of_chips(bundle: Bundle, count: int) -> None:
    given = chips(count)
    brightness = given.mean((1, 2)) / 255
    assert Classifier(open_bundle(bundle.folder)).logits(given) == pytest.approx(np.outer(brightness, np.arange(3)), abs=1e-3)


def test_threads_may_share_an_engine(bundle: Bundle) -> None:
    classifier = Classifier(bundle, threads=1)
    batches = [chips(n) for n in range(1, 25)]
    alone = [classifier.logits(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(classifier.logits, batches))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


def test_an_engine_says_what_goes_in_and_out(bundle: Bundle) -> None:
    session = open_session(bundle)
    assert [shape[1:] for shape in session.inputs.values()] == [(SIDE, SIDE, 1)]
    assert [shape[-1] for shape in session.outputs.values()] == [len(LABELS)]


def test_a_file_of_another_engine_is_refused(bundle: Bundle) -> None:
    other = write_bundle(bundle.folder, [b"not a network"] * len(bundle.model_files), bundle.spec)
    with pytest.raises(BundleError, match=r"is not a(n ONNX)? model that \w+"):
        Classifier(other)


def test_every_file_of_the_weights_is_checked(tmp_path: Path) -> None:
    bundle = bundle_of("openvino", tmp_path)
    (tmp_path / "model.bin").write_bytes(b"\0" * 96)
    with pytest.raises(BundleError, match=r"model\.bin is not the file that spec\.json describes"):
        open_bundle(bundle.folder)
    (tmp_path / "model.bin").unlink()
    with pytest.raises(BundleError, match=r"no model\.bin"):
        open_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("kind", "package", "extra"), [("litert", "ai_edge_litert", "litert"), ("openvino", "openvino", "openvino")], ids=["litert", "openvino"]
)
def test_an_engine_that_is_not_installed_names_its_extra(
    kind: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(kind, tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == package or name == f"mien.engines.{kind}"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'mien\[{extra}\]'"):
        Classifier(bundle)


@pytest.mark.parametrize("kind", ["litert", "openvino"])
@pytest.mark.parametrize(
    ("options", "message"), [({"threads": 0}, "threads must be 1"), ({"providers": ["CPUExecutionProvider"]}, "belong to onnxruntime")]
)
def test_options_of_another_engine_are_refused(kind: str, options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        Classifier(bundle_of(kind, tmp_path), **options)
