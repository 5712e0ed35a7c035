"""A camera -> its newest frame, whenever one is asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from threading import Condition, Event, Thread

from mien.errors import MediaError, UsageError
from mien.media.ffmpeg import import_av
from mien.media.video import Video, VideoFrame

RETRY_S = 1.0
SYSTEMS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}  # what FFmpeg calls each platform's cameras


def camera_frames(device: str = "0", *, tell: Callable[[str], None]) -> Generator[VideoFrame]:
    """Yield the newest frame each time one is asked for, without end; frames that came in between are dropped.

    A camera that is absent, busy or unplugged is waited for. ``index`` counts the frames that the camera gave, so that gaps show what was
    dropped; ``time_s`` counts from the first call.

    Args:
        device: the camera's number or path, or anything else that gives frames: an address, or a file that plays over and over.
        tell: takes a sentence when the camera goes, and when it comes back.

    Raises:
        UsageError: this platform names its cameras otherwise.
        MissingExtraError: PyAV is not installed.
    """
    import_av()
    source, system = find_camera(device)
    slot = _Slot()
    thread = Thread(target=_watch, args=(source, system, slot, tell), name="mien-camera", daemon=True)
    return _newest(slot, thread)


def find_camera(device: str, platform: str = sys.platform) -> tuple[str, str | None]:
    """Return what FFmpeg calls the camera, and the system that it belongs to, None for an address or a file.

    Raises:
        UsageError: a number on a platform whose cameras have names only, or an unknown platform.

    >>> find_camera("1", "linux"), find_camera("rtsp://door/", "linux")
    (('/dev/video1', 'v4l2'), ('rtsp://door/', None))
    """
    if "://" in device or Path(device).is_file():
        return device, None
    if platform not in SYSTEMS:
        raise UsageError(f"expected a camera's address on {platform}, got {device!r}; cameras by number work on Linux and macOS")
    if platform == "linux" and not device.isdecimal() and not device.startswith("/"):
        raise UsageError(f"expected a camera's number, its /dev path or an address, got {device!r}; for a file take mien video")
    if platform == "win32":
        if device.isdecimal():
            raise UsageError(f"expected a camera's name on Windows, got {device!r}; pass it as the Device Manager shows it")
        return f"video={device}", SYSTEMS[platform]
    return (f"/dev/video{device}" if platform == "linux" and device.isdecimal() else device), SYSTEMS[platform]


class _Slot:
    """Room for one frame, which a newer one replaces, or for the error that ended it all."""

    def __init__(self) -> None:
        self.stopped = Event()
        self._changed = Condition()
        self._content: VideoFrame | Exception | None = None

    def put(self, content: VideoFrame | Exception) -> None:
        with self._changed:
            self._content = content
            self._changed.notify()

    def take(self) -> VideoFrame | Exception:
        with self._changed:
            while self._content is None:
                self._changed.wait()
            content, self._content = self._content, None
            return content


def _newest(slot: _Slot, thread: Thread) -> Generator[VideoFrame]:
    thread.start()
    try:
        while isinstance(content := slot.take(), VideoFrame):
            yield content
        raise content
    finally:
        slot.stopped.set()
        thread.join()


def _watch(source: str, system: str | None, slot: _Slot, tell: Callable[[str], None]) -> None:
    try:
        _fill(source, system, slot, tell)
    except Exception as error:  # raised in the asker's thread
        slot.put(error)


def _fill(source: str, system: str | None, slot: _Slot, tell: Callable[[str], None]) -> None:
    began, count, away = time.monotonic(), 0, ""
    while not slot.stopped.is_set():
        reason = "it stopped sending"
        try:
            with Video(source, device=system) as video:
                for frame in video.frames():
                    video.left_out.clear()  # a picture that was damaged is one that was dropped
                    if slot.stopped.is_set():
                        return
                    if away:
                        tell(f"the camera {source} is back")
                        away = ""
                    slot.put(replace(frame, index=count, time_s=time.monotonic() - began))
                    count += 1
        except MediaError as error:
            reason = str(error)
        if reason != away:
            tell(f"no picture from the camera {source}: {reason}; waiting for it")
            away = reason
        slot.stopped.wait(RETRY_S)
