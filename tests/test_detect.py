import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from skimage.data import astronaut

from mien.detect import find_detector, yunet
from mien.detect.base import LARGEST_FACE, nms, search
from mien.errors import DetectorError, UsageError

FACE = (175, 70, 270, 175)  # the astronaut's face, by hand
LANDMARKS = ((202, 102), (247, 103), (221, 125), (200, 142), (240, 144))  # by hand, in the protocol's order


@pytest.fixture(scope="module")
def portrait():
    return astronaut()


@pytest.fixture(scope="module")
def detector():
    return find_detector(threads=1)


def resized(frame, width, height):
    return np.asarray(Image.fromarray(frame).resize((width, height)))


def tight_face(portrait, side):
    x0, y0, x1, y1 = FACE
    return resized(portrait[y0:y1, x0:x1], side, side)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1, 2, 5], ids=lambda s: f"face of {95 * s:.0f} px")
def test_landmarks_are_where_a_person_sees_them(detector, portrait, scale):
    side = int(512 * scale)
    (face,) = detector.detect(resized(portrait, side, side))
    distance = np.linalg.norm(np.array(face.landmarks) - np.array(LANDMARKS) * scale, axis=1)
    assert distance.max() < 0.06 * 95 * scale, "every landmark within 6 % of the face's width"
    assert face.score > 0.8


def test_a_mirrored_face_keeps_left_on_the_left(detector, portrait):
    (face,) = detector.detect(portrait[:, ::-1])
    mirrored = np.array([(512 - x, y) for x, y in LANDMARKS])[[1, 0, 2, 4, 3]]
    assert np.abs(np.array(face.landmarks) - mirrored).max() < 6


@pytest.mark.parametrize("degrees", [-40, -20, 20, 40])
def test_a_rolled_face_is_found_and_its_mouth_swings_with_it(detector, portrait, degrees):
    """The network answers less than the whole roll, so only the direction is promised."""
    turned = np.asarray(Image.fromarray(portrait).rotate(degrees, center=(222, 120)))
    face = max(detector.detect(turned), key=lambda face: face.score)
    points = np.array(face.landmarks)
    swing = points[3:, 0].mean() - points[:2, 0].mean()  # the mouth goes right when the head is turned counter-clockwise
    assert swing * np.sign(degrees) > 3


@pytest.mark.parametrize("side", [32, 48, 100, 300, 640, 900, 2000])
def test_a_face_that_fills_the_picture_is_one_face(detector, portrait, side):
    (face,) = detector.detect(tight_face(portrait, side))
    x0, y0, x1, y1 = face.box_xyxy
    assert (x1 - x0) * (y1 - y0) > 0.6 * side**2


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(slice(0, 512), slice(222, 512)), (slice(0, 512), slice(0, 230)), (slice(110, 512), slice(0, 512)), (slice(0, 140), slice(0, 512))],
    ids=["left half cut off", "right half cut off", "forehead cut off", "mouth cut off"],
)
def test_a_box_stays_inside_the_frame(detector, portrait, rows, columns):
    frame = portrait[rows, columns]
    for face in detector.detect(frame):
        x0, y0, x1, y1 = face.box_xyxy
        assert 0 <= x0 < x1 <= frame.shape[1]
        assert 0 <= y0 < y1 <= frame.shape[0]


def test_hundreds_of_faces_fit(detector, portrait):
    head = resized(portrait[20:200, 130:310], 60, 60)
    crowd = np.tile(head, (16, 16, 1))
    faces = detector.detect(crowd, min_face=8)
    assert len(faces) > 200, "256 faces of 30 px are in the picture"


def test_largest_first_and_min_face(detector, portrait):
    frame = np.zeros((512, 1024, 3), np.uint8)
    frame[:, 512:] = portrait
    frame[:256, :256] = resized(portrait, 256, 256)
    large, small = detector.detect(frame)
    assert large.box_xyxy[0] > 512 > small.box_xyxy[0]
    assert [face.box_xyxy for face in detector.detect(frame, min_face=60)] == [large.box_xyxy]


NOISE = np.random.default_rng(0).integers(90, 160, (240, 320, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(np.zeros((480, 640, 3), np.uint8), id="black"),
        pytest.param(np.full((48, 48, 3), 255, np.uint8), id="white chip"),
        pytest.param(NOISE, id="greyish noise"),
        pytest.param(NOISE[:1, :1], id="one pixel"),
        pytest.param(NOISE[:1], id="one row"),
        pytest.param(NOISE[:, :1], id="one column"),
        pytest.param(np.zeros((3, 5000, 3), np.uint8), id="ribbon"),
        pytest.param(np.repeat(np.tile(np.uint8([0, 255]), 100)[None, :, None], 150, 0).repeat(3, 2), id="stripes"),
    ],
)
def test_no_face_is_an_empty_answer(detector, frame):
    assert detector.detect(frame, min_face=1) == ()


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(np.zeros((9, 9, 3)), id="floats"),
        pytest.param(np.zeros((9, 9), np.uint8), id="grey"),
        pytest.param(np.zeros((9, 9, 4), np.uint8), id="with alpha"),
        pytest.param(np.zeros((0, 9, 3), np.uint8), id="no pixels"),
    ],
)
def test_a_frame_of_another_kind_is_refused(detector, frame):
    with pytest.raises(UsageError, match=r"expected a frame of uint8 \(H, W, 3\)"):
        detector.detect(frame)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 70), st.integers(1, 70), st.just(3))))
def test_any_small_frame_gets_an_answer(frame):
    for face in find_detector(threads=1).detect(frame, min_face=1):
        assert 0 <= face.score <= 1
        assert np.isfinite(face.landmarks).all()


def test_threads_share_a_detector(detector, portrait):
    frames = [resized(portrait, side, side) for side in (256, 300, 352, 400)] * 6
    alone = [detector.detect(frame) for frame in frames]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(detector.detect, frames)) == alone


def test_views_of_another_memory_layout_are_read_right(detector, portrait):
    assert detector.detect(np.asfortranarray(portrait)) == detector.detect(portrait)


def in_new_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in Linux's /proc")
@pytest.mark.parametrize(("threads", "started"), [(1, "0"), (3, "2")])
def test_the_detector_starts_no_more_threads_than_asked(threads, started):
    code = f"""
import os, numpy as np
from mien.detect import find_detector
find_detector(threads=1)
before = len(os.listdir("/proc/self/task"))
detector = find_detector(threads={threads})
detector.detect(np.zeros((300, 300, 3), np.uint8))
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert in_new_python(code) == [started]


@pytest.mark.parametrize("options", [{"threshold": 0}, {"threshold": 1.2}, {"max_side": 8}, {"threads": 0}], ids=str)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match=r"expected a threshold in|threads must be 1 to 1,024"):
        yunet.YuNetDetector(**options)


@pytest.mark.parametrize("name", ["haar", "mtcnn", ""])
def test_an_unknown_detector_is_named(name):
    with pytest.raises(DetectorError, match="expected auto, or the path"):
        find_detector(name)


def test_nms_takes_the_first_of_what_overlaps():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [30, 0, 40, 10], [5, 0, 15, 10]], float)
    assert nms(boxes).tolist() == [0, 2, 3]
    assert nms(np.zeros((0, 4))).tolist() == []


def test_the_coarse_view_decides_about_large_faces_only():
    """A network that sees half a face at full size and the whole of it in the coarse copy."""

    def look(view):
        side = max(view.shape[:2])
        part, whole = np.array([0.9, 0, 0, 400, 200, *[100.0] * 10]), np.array([0.8, 10, 10, 180, 180, *[90.0] * 10])
        return (part if side > LARGEST_FACE else whole)[None].astype(float)

    (face,) = search(np.zeros((960, 960, 3), np.uint8), look, max_side=960, min_face=20)
    assert face.box_xyxy == (50, 50, 900, 900)


# A stand-in for YuNet with its names and shapes: the score of a cell is how red it is, its box is three cells wide and two high, its
# landmarks lie at the cell's corner plus (0.1, 0.2), (0.3, 0.4) and so on, in cells.
BOX = np.array([0.5, 0.5, np.log(3), np.log(2)], np.float32)
POINTS = np.arange(1, 11, dtype=np.float32) / 10


def toy_yunet(height, width):
    nodes, outputs = [helper.make_node("Slice", ["input", "two", "three", "one"], ["red"])], []
    constants = {"one": np.int64([1]), "two": np.int64([2]), "three": np.int64([3]), "list": np.int64([1, -1, 1]), "full": np.float32(255)}
    for stride in yunet.STRIDES:
        pooled = [f"pool{stride}", f"flat{stride}"]
        nodes += [
            helper.make_node("AveragePool", ["red"], pooled[:1], kernel_shape=[stride] * 2, strides=[stride] * 2),
            helper.make_node("Reshape", [pooled[0], "list"], pooled[1:]),
        ]
        for kind, values in (("cls", [0.0]), ("obj", [0.0]), ("bbox", BOX), ("kps", POINTS)):
            scale = 1 / 255 if kind in ("cls", "obj") else 0.0
            constants[f"{kind}{stride}"] = np.array(values, np.float32).reshape(1, 1, -1)
            constants[f"{kind}{stride}x"] = np.float32(scale)
            nodes += [
                helper.make_node("Mul", [pooled[1], f"{kind}{stride}x"], [f"{kind}{stride}y"]),
                helper.make_node("Add", [f"{kind}{stride}y", f"{kind}{stride}"], [f"{kind}_{stride}"]),
            ]
            outputs.append(helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, height, width])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("size_hw", [("h", "w"), (640, 640)], ids=["any size", "fixed 640x640, as OpenCV ships it"])
def test_yunet_decodes_boxes_and_landmarks(tmp_path, size_hw):
    onnx.save(toy_yunet(*size_hw), tmp_path / "toy.onnx")
    detector = find_detector(str(tmp_path / "toy.onnx"), threads=1)
    frame = np.zeros((290, 310, 3), np.uint8)
    frame[64:96, 160:192] = (255, 0, 0)  # one cell of 32 px: column 5, row 2
    frame[160:192, 64:96] = (0, 0, 255)  # blue is nothing
    largest = detector.detect(frame)[0]
    assert largest.score == pytest.approx(1)
    assert largest.box_xyxy == pytest.approx((176 - 48, 80 - 32, 176 + 48, 80 + 32))
    assert np.array(largest.landmarks) == pytest.approx((POINTS.reshape(5, 2) + np.array([5, 2])) * 32, abs=1e-3)


def test_a_graph_that_is_no_yunet_is_refused(tmp_path):
    model = toy_yunet("h", "w")
    del model.graph.output[0]
    onnx.save(model, tmp_path / "other.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(DetectorError, match="is not a YuNet: expected an input"):
        find_detector(str(tmp_path / "other.onnx"))
    with pytest.raises(DetectorError, match="not an ONNX model"):
        find_detector(str(tmp_path / "text.onnx"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DetectorError, match=r"no face detector at .*gone\.onnx; give the path"):
        find_detector(tmp_path / "gone.onnx")


def test_wanting_large_faces_alone_searches_a_smaller_view():
    sides = []

    def look(view):
        sides.append(max(view.shape[:2]))
        return np.empty((0, 15))

    for min_face in (20, 96, 192, 5000):
        search(np.zeros((600, 800, 3), np.uint8), look, max_side=960, min_face=min_face)
    assert sides == [800, 192, 800, 192, 400, 192, 256]
