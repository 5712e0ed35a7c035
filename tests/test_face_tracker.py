"""Faces of a video: when the whole frame is searched, and what is found between."""

import numpy as np
import pytest

from mien.face_tracker import CAREFUL_EVERY, MANY, MAX_STEP_S, FaceTracker
from mien.track import Tracker
from tests.moving import FPS, BrightSquares, moving, scene, still


@pytest.mark.parametrize(
    ("min_face", "quick"),
    [
        pytest.param(20, (180, 320), id="the smallest face is large enough in a quick look"),
        pytest.param(10, (288, 512), id="smaller faces need a larger one"),
        pytest.param(8, (360, 640), id="the smallest need all there is"),
    ],
)
def test_between_careful_looks_only_small_pictures_are_searched(min_face, quick):
    detector = BrightSquares()
    tracker = FaceTracker(detector, min_face=min_face, detect_every=10)
    for frame in scene([moving, still], 2 * CAREFUL_EVERY * 10):
        tracker.find(frame.time_s, frame.frame_rgb)
    looks = [(number, shape) for number, shape in enumerate(detector.shapes) if shape != (128, 256)]  # two faces side by side
    assert [shape for _, shape in looks] == [(360, 640), *[quick] * (CAREFUL_EVERY - 1)] * 2
    assert len(detector.shapes) == 2 * (CAREFUL_EVERY * 10 + CAREFUL_EVERY - 1)  # known faces are searched beside a quick look, too


@pytest.mark.parametrize(
    ("squares", "fps", "whole"),
    [
        pytest.param([still, lambda i: moving(i) if i < 5 else None], FPS, 2, id="a face that leaves is looked for at once"),
        pytest.param([still], 0.9 / MAX_STEP_S, 12, id="frames far apart"),
        pytest.param([lambda i, n=n: (60 * n, 100) for n in range(MANY + 1)], FPS, 12, id="a crowd"),
        pytest.param([], FPS, 1, id="nobody"),
    ],
)
def test_the_whole_frame_is_looked_at_when_it_must_be(squares, fps, whole):
    detector = BrightSquares()
    tracker = FaceTracker(detector, detect_every=10)
    for frame in scene(squares, 12, fps=fps):
        tracker.find(frame.time_s, frame.frame_rgb)
    assert detector.shapes.count((360, 640)) == whole


@pytest.mark.parametrize(("detect_every", "fps"), [(1, FPS), (2, 1 / MAX_STEP_S / 2)], ids=["asked for", "far apart"])
def test_every_frame_is_searched_at_full_size(detect_every, fps):
    detector = BrightSquares()
    tracker = FaceTracker(detector, detect_every=detect_every)
    for frame in scene([still], 5, fps=fps):
        tracker.find(frame.time_s, frame.frame_rgb)
    assert detector.shapes == [(360, 640)] * 5


def test_a_picture_of_another_size_is_searched_whole():
    detector, frames = BrightSquares(), [next(scene([still], 1, size_wh=(640, height))) for height in (360, 400, 400)]
    tracker = FaceTracker(detector, detect_every=10)
    counts = [len(tracker.find(number / FPS, frame.frame_rgb)) for number, frame in enumerate(frames)]
    assert (counts, detector.shapes[:2], len(detector.shapes)) == ([1, 1, 1], [(360, 640), (400, 640)], 3)
    assert detector.shapes[2] != (400, 640)


def test_a_cut_ends_every_id_and_is_searched_whole():
    """The one who is seen after the cut stands exactly where the one before it stood."""
    detector = BrightSquares()
    tracker = FaceTracker(detector, detect_every=10)
    dark, light = (
        np.kron(np.random.default_rng(seed).integers(0, 120, (9, 16, 1)), np.ones((40, 40, 3))).astype(np.uint8) for seed in (0, 1)
    )
    seen = []
    for number in range(12):
        frame = (dark if number < 6 else light).copy()
        frame[200:240, 400:440] = 255
        before = detector.shapes.count((360, 640))
        ids = [track_id for _, track_id in tracker.find(number / FPS, frame)]
        seen.append((ids, tracker.after_cut, detector.shapes.count((360, 640)) - before))
    assert seen == [([1], False, int(number == 0)) for number in range(6)] + [([2], number == 0, int(number == 0)) for number in range(6)]


def test_frames_far_apart_are_not_searched_for_cuts():
    """In half a second, motion changes a picture as much as a cut."""
    tracker = FaceTracker(BrightSquares(), detect_every=1)
    for number in range(4):
        frame = np.kron(np.random.default_rng(number).integers(0, 120, (9, 16, 1)), np.ones((40, 40, 3))).astype(np.uint8)
        frame[200:240, 400:440] = 255
        ids = [track_id for _, track_id in tracker.find(number / 2, frame)]
        assert (ids, tracker.after_cut) == ([1], False)


def test_newcomers_are_seen_at_the_next_look():
    tracker = FaceTracker(BrightSquares(), detect_every=10)
    counts = [len(tracker.find(f.time_s, f.frame_rgb)) for f in scene([still, lambda i: moving(i) if i >= 3 else None], 15)]
    assert counts == [1] * 10 + [2] * 5


def test_faces_at_the_border_stay_inside_the_frame():
    tracker = FaceTracker(BrightSquares(), detect_every=10)
    for frame in scene([lambda i: (0, 0), lambda i: (600, 320)], 8):
        for face, _ in tracker.find(frame.time_s, frame.frame_rgb):
            x0, y0, x1, y1 = face.box_xyxy
            assert 0 <= x0 < x1 <= 640
            assert 0 <= y0 < y1 <= 360


def test_the_face_tracker_takes_a_tracker_of_other_parameters():
    faces = FaceTracker(BrightSquares(), tracker=Tracker(high_score=0.95))
    (frame,) = scene([still], 1)
    assert [track_id for _, track_id in faces.find(frame.time_s, frame.frame_rgb)] == [None]  # the square scores 0.9
