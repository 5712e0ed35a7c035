"""Large pictures, many candidates and turned faces: what the detector's search does beside the network."""

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mien import Pipeline
from mien.assets import demo_photo
from mien.detect import find_detector
from mien.detect import views as views_module
from mien.detect.base import MAX_CANDIDATES, Detection, best_first, detections, nms
from mien.detect.find import Auto, check_min_face, find_faces
from mien.detect.tiles import MAX_FACES, OVERLAP, TILE, Searcher, cut, scales
from mien.detect.turns import DOUBTFUL, quarter_turns, roll_deg, settled, turned_back
from mien.detect.views import resized
from mien.errors import UsageError
from mien.face_tracker import FaceTracker
from mien.geometry import iou
from tests.support import ToldDetector, tiny_bundle

GOLDEN = Path(__file__).parent / "golden" / "detections.json"


@pytest.fixture(scope="module")
def detector():
    return find_detector(threads=1, tiles_at_once=2)


@pytest.fixture(scope="module")
def portrait():
    with Image.open(demo_photo()) as photo:
        return photo.convert("RGB")


def at(portrait, side):
    return np.asarray(portrait.resize((side, side)))


def pictures(portrait):
    """Return the pictures of the golden file, by name."""
    wide = np.full((900, 1600, 3), 110, np.uint8)
    wide[100:740, 60:700] = at(portrait, 640)
    wide[300:620, 800:1120] = at(portrait, 320)[:, ::-1]
    wide[500:660, 1200:1360] = at(portrait, 160)
    return {
        "portrait of 300 px": at(portrait, 300),
        "portrait of 512 px": at(portrait, 512),
        "portrait of 1,400 px": at(portrait, 1400),
        "portrait of 3,000 px": at(portrait, 3000),
        "three sizes": wide,
        "a crowd": np.tile(at(portrait, 96), (6, 10, 1)),
        "nobody": np.full((200, 300, 3), 90, np.uint8),
    }


@pytest.mark.parametrize("name", json.loads(GOLDEN.read_text(encoding="utf-8")))
def test_boxes_and_landmarks_of_ordinary_photos_stay_as_they_were(detector, portrait, name):
    """Every published figure rests on them; processors differ in the last digits of a float."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    for faces in (detector.detect(pictures(portrait)[name]), find_faces(detector, pictures(portrait)[name])):
        assert len(faces) == len(golden)
        for face, told in zip(faces, golden, strict=True):
            assert face.box_xyxy == pytest.approx(told["box_xyxy"], abs=0.05)
            assert np.array(face.landmarks) == pytest.approx(np.array(told["landmarks"]), abs=0.05)
            assert face.score == pytest.approx(told["score"], abs=1e-3)


@pytest.mark.parametrize("strip_pixels", [2**22, 10_000], ids=["one strip", "many strips"])
@pytest.mark.parametrize(
    ("width", "height", "side"),
    [(300, 200, 960), (700, 500, 640), (3000, 2000, 960), (4001, 3003, 960), (4001, 301, 192), (1000, 7, 192), (960, 720, 960)],
)
def test_a_copy_made_of_strips_is_pillows(monkeypatch, width, height, side, strip_pixels):
    monkeypatch.setattr(views_module, "STRIP_PIXELS", strip_pixels)
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BILINEAR
    assert (resized(frame, size) == np.asarray(Image.fromarray(frame).resize(size, how, reducing_gap=2.0))).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(0, 1000))
def test_suppression_row_by_row_is_that_of_all_with_all(count, seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 50, (count, 2))
    boxes = np.column_stack([corner, corner + rng.uniform(0, 30, (count, 2))])
    overlap, kept = iou(boxes, boxes), []
    for index in range(count):
        if not (overlap[index, kept] > 0.4).any():
            kept.append(index)
    assert nms(boxes).tolist() == kept


def test_any_number_of_candidates_takes_little_time_and_memory():
    """A picture tiled with one small face gives 14,000 candidates; all with all took 6 GB."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 1200, (30_000, 2))
    rows = np.column_stack([rng.random(30_000), corner, corner + 30, np.tile(corner, 5)])
    tracemalloc.start()
    began = time.process_time()
    faces = detections(best_first(rows), np.zeros((1230, 1230, 3), np.uint8), 20)
    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 100 < len(faces) <= MAX_CANDIDATES
    assert peak < 200e6
    assert took < 10


def test_a_picture_tiled_with_one_small_face_is_searched_in_bounded_memory(detector, portrait):
    head = np.asarray(portrait.crop((140, 20, 300, 200)).resize((48, 54)))
    frame = np.tile(head, (23, 25, 1))[:1200, :1200]
    tracemalloc.start()
    began = time.process_time()
    faces = detector.detect(frame)
    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(faces) > 100
    assert peak < 300e6, "bytes that numpy holds at once"
    assert took < 10


def large_picture(portrait, size_wh, face_px, step):
    """Return grey noise with heads whose face is ``face_px`` wide, and the middles of the faces."""
    width, height = size_wh
    frame = np.random.default_rng(0).integers(90, 130, (height, width, 1), dtype=np.uint8).repeat(3, 2)
    scale = face_px / 84
    head = np.asarray(portrait.crop((110, 0, 340, 240)).resize((round(230 * scale), round(240 * scale)), Image.Resampling.LANCZOS))
    middles = []
    for y in range(step // 4, height - head.shape[0], step):
        for x in range(step // 4, width - head.shape[1], step):
            frame[y : y + head.shape[0], x : x + head.shape[1]] = head
            middles.append((x + 110 * scale, y + 116 * scale))
    return frame, middles


def share_found(faces, middles):
    def holds(face, x, y):
        x0, y0, x1, y1 = face.box_xyxy
        return x0 < x < x1 and y0 < y < y1

    return sum(any(holds(face, x, y) for face in faces) for x, y in middles) / len(middles)


@pytest.mark.parametrize(
    ("size_wh", "face_px", "step"),
    [
        pytest.param((640, 480), 20, 110, id="0.3 megapixels, 20 px"),
        pytest.param((4000, 1500), 24, 500, id="6 megapixels, 24 px"),
        pytest.param((7488, 1152), 24, 550, id="a panorama, 24 px"),
        pytest.param((3000, 2000), 64, 400, id="6 megapixels, 64 px"),
    ],
)
def test_a_number_is_searched_as_given_at_every_size(detector, portrait, size_wh, face_px, step):
    frame, middles = large_picture(portrait, size_wh, face_px, step)
    faces = find_faces(detector, frame, 20)
    assert share_found(faces, middles) >= 0.9
    assert len(faces) <= 1.05 * len(middles), "no face twice, and nothing else"
    boxes = np.array([face.box_xyxy for face in faces])
    assert (iou(boxes, boxes).sum(1) < 1.4).all(), "boxes of neighbouring tiles are merged"


def test_a_face_on_the_edge_of_two_tiles_is_found_once(detector, portrait):
    frame = np.full((1600, 1600, 3), 110, np.uint8)
    head = np.asarray(portrait.crop((110, 0, 340, 240)).resize((77, 80)))
    edges = sorted({tile.x0 for tile in cut(1600, 1600, 2.0)} | {int(tile.own_xyxy[0]) for tile in cut(1600, 1600, 2.0)})
    places = [x for x in edges if 50 < x < 1500]
    for x in places:
        frame[700:780, x - 38 : x + 39] = head
    assert len(places) > 3
    faces = find_faces(detector, frame, 20)
    spread = [x for x in places if all(abs(x - other) > 80 or x == other for other in places)]
    for x in spread:
        assert sum(abs((face.box_xyxy[0] + face.box_xyxy[2]) / 2 - x) < 12 for face in faces) == 1


def test_more_tiles_at_once_change_nothing(portrait):
    frame, _ = large_picture(portrait, (2400, 1300), 24, 300)
    one, several = (find_faces(find_detector(threads=1, tiles_at_once=count), frame, 20) for count in (1, 4))
    assert one == several


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000), st.floats(0.05, 2), st.sampled_from([640, TILE]))
def test_tiles_cover_the_frame_and_no_view_is_too_large(width, height, scale, side):
    tiles = list(cut(width, height, scale, side))
    owned = sum((tile.own_xyxy[2] - tile.own_xyxy[0]) * (tile.own_xyxy[3] - tile.own_xyxy[1]) for tile in tiles)
    assert owned == pytest.approx(width * height)
    for tile in tiles:
        assert round((tile.x1 - tile.x0) * scale) <= side + 4
        assert round((tile.y1 - tile.y0) * scale) <= side + 4
        assert tile.x0 == 0 or tile.own_xyxy[0] - tile.x0 >= OVERLAP / 2 / scale - 1
        assert tile.x1 == width or tile.x1 - tile.own_xyxy[2] >= OVERLAP / 2 / scale - 1


def test_what_a_whole_view_shows_well_needs_no_tiles():
    assert scales(1.0, 40) == scales(0.5, 200) == ()
    assert scales(0.24, 20)[0] > 1.5, "faces of 20 px are enlarged"


def test_a_searcher_answers_a_bounded_number_of_faces():
    def look(view):
        height, width = view.shape[:2]
        x, y = np.meshgrid(np.arange(0, width - 50, 3.0), np.arange(0, height - 50, 3.0))
        corner = np.column_stack([x.ravel(), y.ravel()])
        return np.column_stack([np.full(len(corner), 0.5), corner, corner + 45, np.tile(corner, 5)])

    faces = Searcher(look, 960, 2).search(np.zeros((1500, 1500, 3), np.uint8), 20)
    assert 0 < len(faces) <= MAX_FACES


@pytest.mark.parametrize("given_", ["0", "nan", "inf", "small", "", None, -3])
def test_another_size_is_refused(given_):
    with pytest.raises(UsageError, match=r"min_face must be auto, or a number of pixels from 1, got"):
        check_min_face(given_)


@pytest.mark.parametrize(("width", "note"), [(1920, False), (1921, True), (4000, True)])
def test_a_large_picture_says_which_faces_auto_leaves_out(tmp_path, width, note):
    bundle = tiny_bundle(tmp_path)
    frame = np.zeros((60, width, 3), np.uint8)
    automatic = Pipeline(model=bundle.folder, detector=ToldDetector(), threads=1).analyze(frame)
    assert [("left out" in text, "min_face 20" in text) for text in automatic.notes] == [(True, True)] * note
    assert Pipeline(model=bundle.folder, detector=ToldDetector(), min_face=20, threads=1).analyze(frame).notes == ()


def turned(portrait, degrees):
    return np.asarray(portrait.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(110, 110, 110)))


@pytest.mark.parametrize("degrees", [0, 15, -15, 45, 60, 90, 120, 135, 180, -135, -90, -60, -45])
def test_the_points_of_a_turned_face_lie_where_they_belong(detector, portrait, degrees):
    (face,) = (face for face in find_faces(detector, turned(portrait, degrees)) if face.score > 0.7)
    off = abs((roll_deg(face.landmarks) - degrees + 180) % 360 - 180)
    assert off < 20, "the clockwise turn that makes the face upright is the one by which it was turned"
    assert face.score > 0.85


def test_a_face_upright_beside_one_on_its_head_keeps_its_points(detector, portrait):
    frame = np.concatenate([at(portrait, 512), at(portrait, 512)[::-1, ::-1]], 1)
    faces = [face for face in find_faces(detector, frame) if face.score > 0.7]
    assert sorted(round(abs(roll_deg(face.landmarks)) / 90) for face in faces) == [0, 2]


def test_a_photo_on_its_side_is_searched_on_its_side(detector, portrait):
    """A face that lies is often not seen at all; once one of a photo is, the others are looked for the same way."""
    wide = np.concatenate([at(portrait, 300), at(portrait, 300)[:, ::-1], at(portrait, 300)], 1)
    upright = find_faces(detector, wide)
    for quarter in (1, 2, 3):
        found = [face for face in find_faces(detector, np.rot90(wide, quarter)) if face.score > 0.7]
        assert len(found) == len(upright)
        assert {quarter_turns(face.landmarks) for face in found} == {(4 - quarter) % 4}


@pytest.mark.parametrize("quarter", range(4))
def test_a_face_is_turned_back_onto_its_pixels(quarter):
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[10:16, 20:30] = 255
    ys, xs = np.nonzero(np.rot90(frame, quarter)[..., 0])
    box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
    assert turned_back(Detection(box, 0.9, ((box[0], box[1]),)), quarter, frame.shape).box_xyxy == (20, 10, 30, 16)


def test_two_turns_that_are_as_likely_make_a_face_doubtful():
    """A detector that sees the same score upright and on the head."""
    points = np.array([(14, 18), (33, 18), (23, 28), (16, 36), (31, 36)], float)

    class Torn(ToldDetector):
        def detect_near(self, view_rgb):
            seen = []
            for x in range(0, view_rgb.shape[1], 96):
                middle = tuple((px + x + 24, py + 24) for px, py in points)
                seen.append(Detection((x + 24, 24, x + 72, 72), 0.85 - 0.2 * (x % 384 > 0), middle))
            return tuple(seen)

    face = Detection((100, 100, 148, 148), 0.86, tuple(map(tuple, points + 100)))
    (judged,) = settled(Torn(), np.zeros((300, 300, 3), np.uint8), [face])
    assert judged.score == DOUBTFUL
    assert judged.landmarks == face.landmarks


def test_a_detector_without_a_near_look_is_left_alone():
    face = Detection((0, 0, 48, 48), 0.5, ((1, 1),) * 5)
    assert settled(ToldDetector(), np.zeros((60, 60, 3), np.uint8), [face]) == (face,)
    assert find_faces(ToldDetector((face,)), np.zeros((60, 60, 3), np.uint8), Auto()) == (face,)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_video_is_followed_in_its_turn(detector, portrait, degrees):
    """A phone's video without its display matrix: known faces are looked for in small pictures, which must be turned as well."""
    follower = FaceTracker(detector)
    frame = np.rot90(at(portrait, 400), degrees // 90)
    ids = set()
    for index in range(12):
        moved = np.roll(frame, 2 * index, 1)
        (face, track_id), *others = [pair for pair in follower.find(index / 25, np.ascontiguousarray(moved)) if pair[0].score > 0.7]
        ids.add(track_id)
        assert not others
        assert quarter_turns(face.landmarks) == (4 - degrees // 90) % 4
        assert abs((roll_deg(face.landmarks) - degrees + 180) % 360 - 180) < 20
    assert len(ids) == 1


@pytest.mark.parametrize("degrees", [15, 90, 180, 270])
def test_a_turned_photo_gets_the_label_of_the_upright_one_or_none(portrait, degrees):
    pipeline = Pipeline(threads=1)
    (upright,) = pipeline.analyze(np.asarray(portrait)).faces
    (face,) = (face for face in pipeline.analyze(turned(portrait, degrees)).faces if face.score > 0.7)
    assert face.uncertain or face.top == upright.top
