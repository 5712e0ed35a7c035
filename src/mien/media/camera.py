"""Reads a camera and returns its newest frame on each request."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from mien.errors import MediaError, UsageError
from mien.latest import Latest
from mien.media.ffmpeg import import_av
from mien.media.video import Video, VideoFrame

RETRY_S = 1.0
SYSTEMS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}  # FFmpeg's name for the cameras of each platform


def camera_frames(device: str = "0", *, tell: Callable[[str], None]) -> Generator[VideoFrame]:
    """Yield the newest frame on each request, without end; frames between two requests are dropped.

    If the camera is missing, busy or unplugged, the generator waits for it. ``index`` counts all frames of the camera, so that gaps show
    which frames were dropped. ``time_s`` counts from the first request.

    Args:
        device: number or path of the camera; or an address, or a file, which is played again and again.
        tell: receives a sentence when the camera disappears, and when it comes back.

    Raises:
        UsageError: this platform names its cameras in another way.
        MissingExtraError: PyAV is not installed.
    """
    import_av()
    source, system = find_camera(device)
    slot, stopped = Latest[VideoFrame | Exception](), Event()
    thread = Thread(target=_watch, args=(source, system, slot, stopped, tell), name="mien-camera", daemon=True)
    return _newest(slot, stopped, thread)


def find_camera(device: str, platform: str = sys.platform) -> tuple[str, str | None]:
    """Return FFmpeg's name of the camera, and its capture system. The system is None for an address or a file.

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


def _newest(slot: Latest[VideoFrame | Exception], stopped: Event, thread: Thread) -> Generator[VideoFrame]:
    thread.start()
    try:
        while isinstance(content := slot.take(), VideoFrame):
            yield content
        if content is not None:  # only this generator stops the thread, so here an error ended it
            raise content
    finally:
        stopped.set()
        thread.join()


def _watch(source: str, system: str | None, slot: Latest[VideoFrame | Exception], stopped: Event, tell: Callable[[str], None]) -> None:
    try:
        _fill(source, system, slot, stopped, tell)
    except Exception as error:  # raised again in the thread of the consumer
        slot.put(error)


def _fill(source: str, system: str | None, slot: Latest[VideoFrame | Exception], stopped: Event, tell: Callable[[str], None]) -> None:
    began, count, away = time.monotonic(), 0, ""
    while not stopped.is_set():
        reason = "it stopped sending"
        try:
            with Video(source, device=system) as video:
                for frame in video.frames():
                    video.left_out.clear()  # a damaged frame counts as a dropped frame
                    if stopped.is_set():
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
        stopped.wait(RETRY_S)
