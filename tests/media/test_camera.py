"""Clips stand in for the camera: to FFmpeg, a file and a device differ by a name."""

import threading
import time

import pytest

from mien.errors import UsageError
from mien.media import camera
from mien.media.camera import camera_frames, find_camera
from tests.media.clips import write_clip


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(camera, "RETRY_S", 0.02)


@pytest.mark.parametrize(
    ("device", "platform", "expected"),
    [
        ("0", "linux", ("/dev/video0", "v4l2")),
        ("/dev/video7", "linux", ("/dev/video7", "v4l2")),
        ("0", "darwin", ("0", "avfoundation")),
        ("Integrated Camera", "win32", ("video=Integrated Camera", "dshow")),
        ("rtsp://door/1", "win32", ("rtsp://door/1", None)),
    ],
)
def test_cameras_have_the_names_of_their_platform(device, platform, expected):
    assert find_camera(device, platform) == expected


@pytest.mark.parametrize(("device", "platform", "words"), [("0", "win32", "name"), ("0", "plan9", "address")])
def test_a_number_that_means_nothing_is_refused(device, platform, words):
    with pytest.raises(UsageError, match=words):
        find_camera(device, platform)


def test_the_newest_frame_wins(tmp_path):
    said = []
    frames = camera_frames(str(write_clip(tmp_path / "a.mp4", 400)), tell=said.append)
    first = next(frames)
    time.sleep(0.3)
    second = next(frames)
    frames.close()
    assert second.index > first.index + 1
    assert second.time_s > first.time_s
    assert not [thread for thread in threading.enumerate() if thread.name == "mien-camera"]


def test_a_camera_that_stops_is_waited_for_and_comes_back(tmp_path):
    said = []
    frames = camera_frames(str(write_clip(tmp_path / "a.mp4", 3)), tell=said.append)
    while len(said) < 3:
        next(frames)
    frames.close()
    assert ["stopped sending" in said[0], "is back" in said[1], "stopped sending" in said[2]] == [True] * 3


def test_a_camera_that_is_absent_is_said_once_and_waited_for(tmp_path):
    path = tmp_path / "camera.mp4"
    path.touch()
    said = []

    def plug_in(sentence):
        said.append(sentence)
        write_clip(path, 5)

    frames = camera_frames(str(path), tell=plug_in)
    assert next(frames).frame_rgb.shape == (64, 96, 3)
    frames.close()
    assert "no picture" in said[0]


def test_a_bug_in_the_watcher_is_not_hidden(tmp_path):
    def broken(_):
        raise ZeroDivisionError

    frames = camera_frames(str(tmp_path / "gone.mp4"), tell=broken)
    with pytest.raises(ZeroDivisionError):
        list(frames)
