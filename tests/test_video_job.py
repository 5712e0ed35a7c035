"""The one loop over a video: records, the annotated copy, and how both end."""

import os
from contextlib import closing
from functools import partial
from threading import Event

import av
import numpy as np
import pytest
from PIL import Image

from mien.classify import Classifier
from mien.errors import CorruptMediaError, MediaError, NotFoundError, TooLargeError
from mien.media.video import open_video
from mien.pipeline import Pipeline
from mien.results import ErrorResult, FrameResult
from mien.video_job import video_records
from tests.media.clips import write_clip
from tests.support import ToldDetector, detection, tiny_bundle


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return Pipeline(classifier=Classifier(tiny_bundle(tmp_path_factory.mktemp("model"))), detector=ToldDetector([detection()]))


def opener(path):
    return partial(open_video, path)


def frames_of(path):
    with open_video(path) as clip:
        return len(list(clip.frames()))


def drained(records):
    """Return all records, and the error that ended them or None."""
    seen = []
    try:
        for record in records:
            seen.append(record)  # noqa: PERF402  (kept when the next one raises)
    except MediaError as error:
        return seen, error
    return seen, None


@pytest.fixture
def cut(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), dtype=np.uint8)
    whole = write_clip(tmp_path / "cut.mkv", noise)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    return whole


def test_records_and_the_copy_come_in_one_pass(pipeline, tmp_path):
    lengths = []
    clip = write_clip(tmp_path / "in.mp4", 10, sound="aac")
    records = list(video_records(pipeline, opener(clip), name="talk", annotated=tmp_path / "out.mp4", on_open=lengths.append))
    assert [record.frame_index for record in records] == list(range(10))
    assert {record.source for record in records} == {"talk"}
    assert lengths == pytest.approx([0.4], abs=0.05)
    with open_video(tmp_path / "out.mp4") as copy:
        assert (len(list(copy.frames())), copy.has_sound) == (10, True)


def test_a_video_that_breaks_off_ends_with_its_error_and_a_whole_copy(pipeline, cut, tmp_path):
    seen, error = drained(video_records(pipeline, opener(cut), name="talk.mkv", annotated=tmp_path / "out.mp4"))
    assert isinstance(error, CorruptMediaError)
    *frames, last = seen
    assert (last.code, last.time_s, last.message) == ("corrupt_media", frames[-1].time_s, str(error))
    assert "talk.mkv" in last.message
    assert str(cut) not in last.message
    assert frames_of(tmp_path / "out.mp4") == len(frames) > 10


def test_a_video_that_is_not_there_is_one_error_record(pipeline, tmp_path):
    records = video_records(pipeline, opener(tmp_path / "none.mp4"), name="none.mp4", annotated=tmp_path / "out.mp4")
    first = next(records)
    assert (first.code, first.time_s, first.frame_index) == ("not_found", None, None)
    with pytest.raises(NotFoundError):
        next(records)
    assert os.listdir(tmp_path) == []


def test_an_event_stops_it_after_a_frame_and_keeps_the_copy(pipeline, tmp_path):
    stopped, count = Event(), 0
    clip = write_clip(tmp_path / "in.mp4", 25)
    for _ in video_records(pipeline, opener(clip), name="talk", annotated=tmp_path / "out.mp4", stopped=stopped):
        count += 1
        if count == 5:
            stopped.set()
    assert (count, frames_of(tmp_path / "out.mp4")) == (5, 5)


def test_closing_it_early_leaves_a_copy_that_plays_up_to_there(pipeline, tmp_path):
    clip = write_clip(tmp_path / "in.mp4", 25)
    with closing(video_records(pipeline, opener(clip), name="talk", annotated=tmp_path / "out.mp4")) as records:
        next(records)
        next(records)
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4"]
    assert 1 <= frames_of(tmp_path / "out.mp4") <= 2


def test_a_video_is_refused_where_it_grows_too_long(pipeline, tmp_path):
    clip = write_clip(tmp_path / "in.mkv", 3, times_s=[0, 1, 20])
    seen, error = drained(video_records(pipeline, opener(clip), name="talk", max_s=10))
    assert isinstance(error, TooLargeError)
    assert "at most 10 s of video, got more in talk" in str(error)
    assert [type(record) for record in seen] == [FrameResult, FrameResult, ErrorResult]


def test_an_unreadable_picture_has_its_record_in_its_place(pipeline, tmp_path):
    for number in range(4):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    records = list(video_records(pipeline, opener(tmp_path), name="shots"))
    assert [(record.frame_index, type(record)) for record in records] == [
        (0, FrameResult), (1, ErrorResult), (2, FrameResult), (3, FrameResult)
    ]  # fmt: skip


def test_a_file_that_does_not_say_its_length_keeps_its_sound(pipeline, tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", 10, sound="aac")
    streamed = tmp_path / "pipe.mkv"
    remux_without_length(whole, streamed)
    with open_video(streamed) as clip:
        assert (clip.duration_s, clip.has_sound) == (None, True)
    list(video_records(pipeline, opener(streamed), name="talk", annotated=tmp_path / "out.mp4"))
    with open_video(tmp_path / "out.mp4") as copy:
        assert copy.has_sound


class OneWay:
    """A file that can only be written forwards, as a pipe can."""

    def __init__(self, file):
        self.write = file.write


def remux_without_length(source, target):
    """Write a Matroska file as a live recorder does, which cannot go back to write the length into the head."""
    with target.open("wb") as file, av.open(str(source)) as given, av.open(OneWay(file), "w", format="matroska") as out:
        into = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = into[packet.stream.index]
                out.mux(packet)
