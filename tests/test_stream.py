"""Pipeline.stream: records in order, threads that end, and one state per stream."""

import threading

import numpy as np
import pytest

from mien.classify import Classifier
from mien.detect import Detection
from mien.errors import CorruptMediaError, DetectorError, UsageError
from mien.media.video import VideoFrame
from mien.pipeline import Pipeline
from mien.results import CUT_NOTE
from tests.moving import FPS, BrightSquares, moving, scene, still
from tests.support import ToldDetector, detection, tiny_bundle

LABELS = ("dark", "bright")


@pytest.fixture
def classifier(tmp_path):
    return Classifier(tiny_bundle(tmp_path / "bundle", LABELS))


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


@pytest.mark.parametrize("live", [False, True])
def test_nothing_of_the_picture_before_a_cut_goes_into_the_one_after(tmp_path, live):
    """Two rooms, dark and bright, with a face at the same place: the second one is somebody else, whose smoothing begins anew."""
    telling = Classifier(tiny_bundle(tmp_path / "b", LABELS, temperature=0.2))
    rooms = [np.kron(np.random.default_rng(i).integers(low, low + 90, (9, 16, 1)), np.ones((40, 40, 3))) for i, low in enumerate((10, 150))]
    frames = [VideoFrame(i, i / FPS, rooms[i >= 15].astype(np.uint8)) for i in range(30)]
    results = list(Pipeline(detector=ToldDetector((detection(20, 20),)), classifier=telling).stream(frames, live=live))
    assert [i for i, result in enumerate(results) if result.after_cut] == [15]
    assert results[15].notes == (CUT_NOTE,)
    assert [result.faces[0].track_id for result in results] == [1] * 15 + [2] * 15
    first = results[15].faces[0]
    assert first.smoothed.probabilities == pytest.approx(first.emotions.probabilities)
    assert first.emotions["bright"] > results[14].faces[0].smoothed["bright"] + 0.1
