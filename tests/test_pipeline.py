from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import mien
from mien.assets import demo_photo
from mien.classify import Classifier
from mien.errors import MediaError, UsageError
from mien.media.video import VideoFrame, open_video
from mien.pipeline import PHOTOS_AHEAD, Pipeline
from mien.results import ErrorResult, FrameResult
from tests.support import ToldDetector, detection, tiny_bundle


@pytest.fixture
def classifier(tmp_path):
    return Classifier(tiny_bundle(tmp_path / "bundle", ("dark", "bright")))


def _grey(level, side=100):
    return np.full((side, side, 3), level, np.uint8)


def test_faces_are_classified_where_they_are(classifier):
    frame = _grey(0)
    frame[:, 50:] = 255
    pipeline = Pipeline(detector=ToldDetector((detection(1, 20), detection(51, 20))), classifier=classifier)
    dark, bright = pipeline.analyze(frame).faces
    assert dark.emotions["bright"] == pytest.approx(0.5, abs=0.01)
    assert bright.emotions["bright"] > 0.7
    assert dark.box_xyxy == detection(1, 20).box_xyxy


def test_a_face_gets_the_same_answer_alone_and_in_a_crowd(classifier):
    frames = [_grey(level) for level in range(0, 250, 10)]
    crowd = tuple(detection(x, y) for x in (0, 20, 50) for y in (0, 50))
    pipeline = Pipeline(detector=ToldDetector(crowd), classifier=classifier, threads=2)
    together = list(pipeline.analyze_many(frames))
    assert together == [pipeline.analyze(frame) for frame in frames]


@pytest.mark.parametrize("count", [0, 1, 7, 3 * PHOTOS_AHEAD + 5])
def test_many_photos_come_back_in_order_with_their_errors_in_place(classifier, tmp_path, count):
    items: list[object] = []
    for i in range(count):
        if i % 5 == 3:
            (tmp_path / f"{i}.jpg").write_bytes(b"no photo")
        else:
            Image.new("L", (60 + i, 60), i).save(tmp_path / f"{i}.jpg")
        items.append(tmp_path / f"{i}.jpg")
    records = list(Pipeline(detector=ToldDetector(), classifier=classifier).analyze_many(items))
    assert [r.source for r in records] == [str(p) for p in items]
    for i, record in enumerate(records):
        if i % 5 == 3:
            assert isinstance(record, ErrorResult)
        else:
            assert isinstance(record, FrameResult)
            assert record.width == 60 + i


def test_inputs_are_taken_as_they_are_needed(classifier):
    """A million paths must not be read before the first answer."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield _grey(0)

    stream = Pipeline(detector=ToldDetector(), classifier=classifier, threads=2).analyze_many(endless())
    for _ in range(10):
        next(stream)
    stream.close()
    assert taken < 10 + 3 * PHOTOS_AHEAD


def test_one_photo_that_cannot_be_read_is_an_exception(classifier):
    with pytest.raises(MediaError):
        Pipeline(detector=ToldDetector(), classifier=classifier).analyze(b"no photo")


def test_a_bug_in_a_detector_is_not_hidden(classifier):
    class Broken(ToldDetector):
        def detect(self, frame_rgb, min_face=20):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Pipeline(detector=Broken(), classifier=classifier).analyze_many([_grey(0)]))


@pytest.mark.parametrize(("option", "value"), [("min_face", 0), ("threads", 0), ("threads", -1)])
def test_impossible_options_are_refused(option, value):
    with pytest.raises(UsageError, match=option):
        Pipeline(**{option: value})


def test_min_face_reaches_the_detector(classifier):
    pipeline = Pipeline(detector=ToldDetector((detection(0, 0, 0.4), detection(20, 20))), classifier=classifier, min_face=20)
    assert len(pipeline.analyze(_grey(9)).faces) == 1


def test_records_of_a_sequence_name_their_picture(classifier, tmp_path):
    for number in range(2):
        Image.new("RGB", (60, 60)).save(tmp_path / f"{number}.png")
    with open_video(tmp_path) as clip:
        results = list(Pipeline(detector=ToldDetector(), classifier=classifier).stream(clip.frames(), source=clip.name))
    assert [result.source for result in results] == [str(tmp_path / "0.png"), str(tmp_path / "1.png")]


@pytest.mark.parametrize(
    ("score", "uncertain"),
    [pytest.param(0.69, True, id="may be clutter"), pytest.param(0.7, False, id="a face")],
)
def test_a_confident_word_about_what_may_be_no_face_is_uncertain(classifier, score, uncertain):
    told = ToldDetector((replace(detection(0, 0), score=score),))
    pipeline = Pipeline(detector=told, classifier=classifier)
    (face,) = pipeline.analyze(_grey(9)).faces
    assert face.uncertain is uncertain
    (result,) = pipeline.stream([VideoFrame(0, 0.0, _grey(9))], detect_every=1)
    assert [face.uncertain for face in result.faces] == [uncertain]


@pytest.mark.parametrize(
    "give",
    [
        pytest.param(lambda p: p, id="path"),
        pytest.param(str, id="string"),
        pytest.param(lambda p: p.read_bytes(), id="bytes"),
        pytest.param(lambda p: np.asarray(Image.open(p)), id="array"),
        pytest.param(Image.open, id="pillow"),
    ],
)
def test_the_short_door_takes_a_photo_in_any_form(give):
    result = mien.analyze(give(demo_photo()))
    (face,) = result.faces
    assert (result.width, result.height) == (512, 512)
    assert face.top == "happy"
    assert not face.uncertain
    x0, y0, x1, y1 = face.box_xyxy
    assert 150 < x0 < x1 < 320
    assert 30 < y0 < y1 < 260
