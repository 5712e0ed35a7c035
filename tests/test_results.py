import dataclasses
import json

import pytest

from mien.results import CUT_NOTE, SCHEMA, Emotions, ErrorResult, Face, FrameResult, ModelRef, record_from_dict

EMOTIONS = Emotions(("happy", "sad"), (0.9, 0.1))
FACE = Face((1.0, 2.0, 3.0, 4.0), 0.8, ((1.0, 1.0),) * 5, EMOTIONS, uncertain=False)
MODEL = ModelRef("tiny", "1.0")


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(FrameResult("a.jpg", 10, 20, (FACE,), MODEL), id="photo"),
        pytest.param(FrameResult("a.jpg", 10, 20, (), MODEL, notes=("first of 3 frames",)), id="no-face-is-a-record"),
        pytest.param(
            FrameResult("v.mp4", 10, 20, (dataclasses.replace(FACE, track_id=3, smoothed=EMOTIONS),), MODEL, frame_index=7, time_s=0.28),
            id="video-frame",
        ),
        pytest.param(ErrorResult("b.jpg", "corrupt_media", "cut short"), id="error"),
        pytest.param(ErrorResult("v.mp4", "corrupt_media", "cut short", 12, 0.5), id="error-at-a-time"),
    ],
)
def test_records_survive_json(record):
    text = json.dumps(record.to_dict(), allow_nan=False)
    assert record_from_dict(json.loads(text)) == record


def test_a_key_that_a_later_version_adds_is_passed_over():
    record = FrameResult("a.jpg", 10, 20, (), MODEL)
    values = record.to_dict() | {"new": 1, "model": {"name": "tiny", "version": "1.0", "new": 1}}
    assert record_from_dict(values) == record


def test_the_first_frame_after_a_cut_says_so_and_old_records_are_read():
    record = FrameResult("v.mp4", 10, 20, (), MODEL, 12, 0.5, ("mended", CUT_NOTE))
    assert record_from_dict(record.to_dict()).after_cut
    old = {key: value for key, value in record.to_dict().items() if key != "notes"}
    assert not record_from_dict(old).after_cut
    assert CUT_NOTE == "cut: another picture begins here, and all track ids are new"  # docs/schema.md promises that it stays


def test_records_are_plain_and_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FACE.score = 1.0
    assert hash(FACE) == hash(dataclasses.replace(FACE))


@pytest.mark.parametrize("version", ["mien/0", "mien/2", None])
def test_another_schema_is_refused(version):
    values = FrameResult("a.jpg", 1, 1, (), MODEL).to_dict() | {"schema": version}
    with pytest.raises(ValueError, match=SCHEMA):
        record_from_dict(values)


def test_emotions_answer_by_label_and_rank():
    e = Emotions(("a", "b", "c"), (0.2, 0.5, 0.3))
    assert (e["b"], e.top, e.confidence) == (0.5, "b", 0.5)
    assert e.ranked() == (("b", 0.5), ("c", 0.3), ("a", 0.2))
    with pytest.raises(KeyError, match="labels are a, b, c"):
        e["happy"]


@pytest.mark.parametrize(("labels", "values"), [(("a",), (0.5, 0.5)), ((), ())], ids=["one-too-many", "none"])
def test_emotions_need_one_probability_a_label(labels, values):
    with pytest.raises(ValueError, match="one probability a label"):
        Emotions(labels, values)
