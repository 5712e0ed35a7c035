from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.bundles import open_bundle, write_bundle
from mien.classify import Classifier
from mien.contract import FER2013_TEMPLATE, InputSpec
from mien.errors import UsageError
from mien.explain import DECISIVE, by_part, explain_face, occlusion_map, overlay, strongest
from mien.geometry import grown
from mien.results import Emotions, Face
from tests.support import detection, tiny_bundle

SPEC = InputSpec("mouth", "1", labels=("closed", "open"))


@pytest.fixture(scope="module")
def mouth_model(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A model that answers "open" when the mouth (rows 33 to 40, columns 16 to 31) is bright, and looks at nothing else."""
    weights = np.zeros((48, 48, 2), np.float32)
    weights[33:40, 16:31, 1] = 4 / 255 / (7 * 15)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["chips"], ["flat"]), helper.make_node("MatMul", ["flat", "weights"], ["logits"])],
        "mouth",
        [helper.make_tensor_value_info("chips", TensorProto.FLOAT, ["n", 48, 48, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights.reshape(-1, 2), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    folder: Path = tmp_path_factory.mktemp("mouth")
    write_bundle(folder, model.SerializeToString(), SPEC)
    return Classifier(open_bundle(folder))


@pytest.fixture
def open_mouth() -> np.ndarray:
    chip = np.full((48, 48), 60, np.uint8)
    chip[33:40, 16:31] = 250
    return chip


def test_support_lies_where_the_model_looks(mouth_model: Classifier, open_mouth: np.ndarray) -> None:
    heat = occlusion_map(mouth_model, open_mouth)
    assert heat.shape == (48, 48)
    assert np.unravel_index(heat.argmax(), heat.shape)[0] in range(33, 40)
    assert heat[:20].max() == pytest.approx(0, abs=1e-6)
    assert by_part(heat, SPEC)["mouth"] > 0.6


def test_what_supports_one_label_speaks_against_the_other(mouth_model: Classifier, open_mouth: np.ndarray) -> None:
    assert occlusion_map(mouth_model, open_mouth, "open")[36, 23] > 0 > occlusion_map(mouth_model, open_mouth, "closed")[36, 23]


def test_an_unknown_label_names_the_known_ones(mouth_model: Classifier, open_mouth: np.ndarray) -> None:
    with pytest.raises(UsageError, match="closed, open"):
        occlusion_map(mouth_model, open_mouth, "happy")


def test_every_pixel_is_covered(mouth_model: Classifier) -> None:
    assert np.isfinite(occlusion_map(mouth_model, np.zeros((48, 48), np.uint8))).all()


@pytest.mark.parametrize("scale", [pytest.param(1, id="as large as the chip"), pytest.param(5, id="a large face")])
def test_the_map_lands_on_the_face_it_came_from(scale: int) -> None:
    heat = np.zeros((48, 48))
    heat[34:38, 20:27] = 1
    frame = np.full((400, 400, 3), 128, np.uint8)
    corner = np.array([60, 40])
    points = np.array(FER2013_TEMPLATE) * scale + corner
    drawn = overlay(frame, heat, points, SPEC).astype(int)
    changed = np.argwhere(np.abs(drawn - 128).max(2) > 60)
    expected = np.array([[34, 20], [37, 26]]) * scale + corner[::-1]
    assert changed.min(0) == pytest.approx(expected[0], abs=scale)
    assert changed.max(0) == pytest.approx(expected[1], abs=1.5 * scale)
    assert (drawn[changed[0][0], changed[0][1]] > [128, -1, -1]).all()  # warm: more red


def test_a_weak_map_stays_pale() -> None:
    heat = np.zeros((48, 48))
    heat[10:40, 10:40] = DECISIVE / 10
    frame = np.full((48, 48, 3), 128, np.uint8)
    pale, full = (overlay(frame, heat, FER2013_TEMPLATE, SPEC, full_at=at).astype(int) for at in (DECISIVE, 0.0))
    assert np.abs(full - 128).max() > 60
    assert np.abs(pale - 128).max() < 10
    assert strongest(heat) == pytest.approx(0.01, abs=1e-3)
    assert strongest(-heat) == strongest(heat)


def test_no_support_is_no_division_by_zero() -> None:
    assert by_part(np.zeros((48, 48)), SPEC) == {"eyes": 0, "nose": 0, "mouth": 0, "rest": 0}
    frame = np.zeros((48, 48, 3), np.uint8)
    assert (overlay(frame, np.zeros((48, 48)), FER2013_TEMPLATE, SPEC) == frame).all()


def test_an_explanation_shows_the_face_with_a_margin_and_in_grey_but_for_the_map(tmp_path: Path) -> None:
    spec = tiny_bundle(tmp_path / "tiny").spec
    frame = np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    found = detection(200, 100, 4)
    face = Face(found.box_xyxy, 0.9, found.landmarks, Emotions(spec.labels, (1.0,) + (0.0,) * 6), uncertain=False)
    heat = np.zeros((48, 48))
    plain = explain_face(frame, face, heat, spec)
    x0, y0, x1, y1 = plain.box_xyxy
    assert (x0, y0, x1, y1) == grown(face.box_xyxy, 0.15, 600, 400)
    assert np.array_equal(plain.crop_rgb, frame[y0:y1, x0:x1])
    assert plain.marked_rgb.shape == plain.crop_rgb.shape
    assert (np.ptp(plain.marked_rgb, axis=2) == 0).all()
    heat[24, 24] = 1.0
    marked = explain_face(frame, face, heat, spec, max_side=100)
    assert max(marked.marked_rgb.shape) == 100
    coloured = np.argwhere(np.ptp(marked.marked_rgb, axis=2) > 0).mean(0)
    assert coloured / marked.marked_rgb.shape[:2] == pytest.approx(
        [(100 + 4 * 24.5 - y0) / (y1 - y0), (200 + 4 * 24.5 - x0) / (x1 - x0)], abs=0.02
    )
    assert (marked.shares, marked.strongest) == (by_part(heat, spec), strongest(heat))
