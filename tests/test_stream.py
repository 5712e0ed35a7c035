"""Pipeline.stream, the tracker under it, and the timeline over it."""

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from mien.classify import Classifier
from mien.detect import Detection
from mien.errors import CorruptMediaError, DetectorError, UsageError
from mien.face_tracker import CAREFUL_EVERY, MANY, MAX_STEP_S, FaceTracker
from mien.media.video import VideoFrame
from mien.pipeline import Pipeline
from mien.results import Emotions, Face, FrameResult, ModelRef
from mien.timeline import Timeline
from mien.track import Tracker
from tests.support import ToldDetector, detection, tiny_bundle

FPS = 30
LABELS = ("dark", "bright")


@pytest.fixture
def classifier(tmp_path):
    return Classifier(tiny_bundle(tmp_path / "bundle", LABELS))


@dataclass
class BrightSquares:
    """Finds white squares as faces: a detector whose answers depend on what it is shown, as a real one's do."""

    name: str = "squares"
    shapes: list[tuple[int, int]] = field(default_factory=list)

    def detect(self, frame_rgb, min_face=20):
        self.shapes.append(frame_rgb.shape[:2])
        faces = []
        bright = frame_rgb[..., 0] > 127
        while bright.any():
            y, x = np.unravel_index(bright.argmax(), bright.shape)
            width = int((~np.append(bright[y, x:], False)).argmax())
            height = int((~np.append(bright[y:, x], False)).argmax())
            bright[y : y + height, max(0, x - 1) : x + width + 1] = False
            points = tuple((x + a * width, y + b * height) for a, b in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)))
            if min(width, height) >= max(min_face, 3):
                faces.append(Detection((float(x), float(y), float(x + width), float(y + height)), 0.9, points))
        return tuple(faces)


def scene(squares, count=40, size_wh=(640, 360), fps=FPS):
    """Yield frames with white squares of 40 px at frame number -> (x, y), or None."""
    for index in range(count):
        frame = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
        for square in squares:
            if place := square(index):
                x, y = place
                frame[y : y + 40, x : x + 40] = 255
        yield VideoFrame(index, index / fps, frame)


def moving(index):
    return 20 + 4 * index, 100


def still(index):
    return 400, 200


def threads():
    return {thread.name for thread in threading.enumerate() if thread.name == "mien-prefetch"}


@pytest.mark.parametrize("detect_every", [1, 5, 100])
def test_every_frame_has_its_faces_where_they_are(classifier, detect_every):
    pipeline = Pipeline(detector=BrightSquares(), classifier=classifier)
    results = list(pipeline.stream(scene([moving, still]), source="clip.mp4", detect_every=detect_every))
    assert [r.frame_index for r in results] == list(range(40))
    assert [r.time_s for r in results] == [i / FPS for i in range(40)]
    assert {r.source for r in results} == {"clip.mp4"}
    for i, result in enumerate(results):
        by_id = {face.track_id: face for face in result.faces}
        assert set(by_id) == {1, 2}
        expected = sorted([(*moving(i), 40), (*still(i), 40)])
        found = sorted((x0, y0, x1 - x0) for x0, y0, x1, _ in (face.box_xyxy for face in result.faces))
        assert np.abs(np.subtract(found, expected)).max() <= 2.5
        assert all(face.smoothed for face in result.faces)


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


@pytest.mark.parametrize("detect_every", [0, -1])
def test_an_impossible_option_is_refused_before_the_first_frame(classifier, detect_every):
    with pytest.raises(UsageError, match="every 1 or more"):
        Pipeline(detector=ToldDetector(), classifier=classifier).stream([], detect_every=detect_every)


@pytest.mark.parametrize("max_faces", [0, -1])
def test_fewer_than_one_face_is_refused(classifier, max_faces):
    with pytest.raises(UsageError, match="max_faces of 1 or more"):
        Pipeline(detector=ToldDetector(), classifier=classifier).stream([], max_faces=max_faces)


def test_points_that_are_no_faces_are_the_detectors_error(classifier):
    detector = ToldDetector((Detection((0, 0, 40, 40), 0.9, ((5, 5),) * 5),))
    with pytest.raises(DetectorError, match="told gave landmarks"):
        list(Pipeline(detector=detector, classifier=classifier).stream(scene([still], 1)))


def test_no_frames_no_results(classifier):
    assert list(Pipeline(detector=ToldDetector(), classifier=classifier).stream([])) == []


def test_a_break_in_the_source_comes_after_the_results_before_it(classifier):
    def breaking():
        yield from scene([still], 5)
        raise CorruptMediaError("cut")

    results = []
    with pytest.raises(CorruptMediaError, match="cut"):
        results.extend(Pipeline(detector=BrightSquares(), classifier=classifier).stream(breaking()))
    stream = Pipeline(detector=BrightSquares(), classifier=classifier).stream(breaking())
    assert [next(stream).frame_index for _ in range(5)] == [0, 1, 2, 3, 4]
    stream.close()


def test_stopping_early_leaves_no_thread_and_closes_the_source(classifier):
    closed = []

    def endless():
        try:
            yield from scene([still], 10**9, (64, 48))
        finally:
            closed.append(True)

    stream = Pipeline(detector=ToldDetector(), classifier=classifier).stream(endless())
    for _ in range(3):
        next(stream)
    stream.close()
    assert closed == [True]
    assert not threads()


def test_two_streams_of_one_pipeline_know_nothing_of_each_other(classifier):
    pipeline = Pipeline(detector=BrightSquares(), classifier=classifier)
    streams = [pipeline.stream(scene([moving], 6)), pipeline.stream(scene([still], 6))]
    for pair in zip(*streams, strict=True):
        assert [face.track_id for result in pair for face in result.faces] == [1, 1]


def test_smoothing_follows_the_person_and_uncertainty_the_smoothed_answer(tmp_path):
    flashing = Classifier(tiny_bundle(tmp_path / "b", LABELS, temperature=0.2, uncertain_below=0.6))

    def frames():
        for i in range(30):
            yield VideoFrame(i, i / FPS, np.full((100, 100, 3), 255 * (i >= 15), np.uint8))

    results = list(Pipeline(detector=ToldDetector((detection(20, 20),)), classifier=flashing).stream(frames()))
    raw = [r.faces[0].emotions["bright"] for r in results]
    smoothed = [r.faces[0].smoothed["bright"] for r in results]
    assert raw[14] == pytest.approx(0.5, abs=0.01)
    assert raw[15] > 0.99
    assert 0.5 < smoothed[15] < 0.9 < smoothed[-1]
    assert [r.faces[0].uncertain for r in results] == [max(p, 1 - p) < 0.6 for p in smoothed]


def result_at(time_s, *faces):
    """Return a frame with (track id, P(dark)) faces in 40 px boxes side by side."""
    made = tuple(
        Face((60.0 * n, 10.0, 60.0 * n + 40, 50.0), 0.9, (), Emotions(LABELS, (p, 1 - p)), False, track_id, Emotions(LABELS, (p, 1 - p)))
        for n, (track_id, p) in enumerate(faces)
    )
    return FrameResult("clip", 200, 100, made, ModelRef("m", "1"), 0, time_s)


def timeline(*results):
    story = Timeline(LABELS)
    for result in results:
        story.add(result)
    return story


def test_seconds_count_from_a_frame_to_the_next_at_any_rate():
    story = timeline(result_at(0, (1, 0.9)), result_at(0.5, (1, 0.9), (2, 0.2)), result_at(2, (2, 0.2)), result_at(2.25, (1, 0.1)))
    first, second = story.presences()
    assert first.seconds_by_label == pytest.approx({"dark": 2.0, "bright": 0.25})
    assert second.seconds_by_label == pytest.approx({"dark": 0, "bright": 1.75})
    assert (first.first_s, first.last_s, first.seconds) == pytest.approx((0, 2.5, 2.25))


@pytest.mark.parametrize("results", [[], [result_at(0)], [result_at(0, (None, 0.5))]], ids=["no frame", "no face", "no id"])
def test_a_timeline_of_nobody_says_so(results):
    story = timeline(*results)
    assert story.presences() == []
    assert story.picture().shape == (188, 1280, 3)


def test_the_picture_shows_shares_and_gaps():
    """Half dark, half bright for two seconds; away for two; then all bright."""
    frames = [result_at(t / 10, *([(1, 0.5)] if t < 20 else [] if t < 40 else [(1, 0.0)])) for t in range(60)]
    picture = timeline(*frames).picture("clip.mp4").astype(int)
    column = {name: picture[56:128, x] for name, x in (("half", 300), ("away", 700), ("bright", 1100))}
    assert len(np.unique(column["half"], axis=0)) == 2
    assert len(np.unique(column["away"], axis=0)) == len(np.unique(column["bright"], axis=0)) == 1
    assert (column["half"][0] == column["bright"][0]).all()
    assert (column["half"][35] == column["half"][0]).all()
    assert (column["half"][36] != column["half"][35]).any()


def test_many_people_do_not_make_an_endless_picture():
    picture = timeline(*(result_at(t, *((n, 0.5) for n in range(1, 60))) for t in range(3))).picture()
    assert picture.shape[0] < 2300


def test_running_graphs_leave_faces_and_the_given_frame_alone():
    story = timeline(*(result_at(t / 10, (1, 0.5), (2, 1.0)) for t in range(30)))
    frame = np.zeros((100, 200, 3), np.uint8)
    drawn = story.draw_graphs(frame, result_at(2.9, (1, 0.5), (2, 1.0)))
    assert not frame.any()
    assert drawn[53:67, 0:40].any()
    assert drawn[53:67, 60:100].any()
    assert not drawn[:53].any()


def test_the_face_tracker_takes_a_tracker_of_other_parameters():
    faces = FaceTracker(BrightSquares(), tracker=Tracker(high_score=0.95))
    (frame,) = scene([still], 1)
    assert [track_id for _, track_id in faces.find(frame.time_s, frame.frame_rgb)] == [None]  # the square scores 0.9
