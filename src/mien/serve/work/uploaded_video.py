"""Analyses one uploaded video: checks it, and writes its records and its annotated copy."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from mien.errors import MediaError, TooLargeError, UnsupportedMediaError
from mien.media.images import VIDEOS, ReadLimits, display_name
from mien.media.video import Video
from mien.pipeline import Pipeline
from mien.results import FrameResult
from mien.serve.settings import Settings
from mien.video_job import check_length, named, video_records

MAGIC_BYTES = 16  # first bytes of a file, which identify its container


class Stopped(Exception):  # noqa: N818  (a request, not a fault)
    """Raised when the caller or the service cancels the analysis."""


@dataclass
class Progress:
    """The progress of a video; the working thread writes it, other threads read it."""

    frames: int = 0
    time_s: float = 0.0
    duration_s: float | None = None
    seconds: float = 0.0  # since the analysis started

    @property
    def share(self) -> float:
        """The analysed share of the video, from 0 to 1; 0 while its length is unknown."""
        return min(1.0, self.time_s / self.duration_s) if self.duration_s else 0.0

    @property
    def frames_per_second(self) -> float | None:
        """Analysed frames per second; None before the first frame."""
        return self.frames / self.seconds if self.seconds else None


def check_video(path: Path, name: str, settings: Settings) -> None:
    """Raise MediaError unless ``path`` is a video within the limits; the message has the name that the caller gave, not the path."""
    _open(path, name, settings).close()


def analyze_video(
    pipeline: Pipeline,
    path: Path,
    result: Path,
    annotated: Path | None,
    *,
    name: str,
    every_s: float | None,
    settings: Settings,
    progress: Progress,
    stopped: Event,
) -> None:
    """Write one record per frame to ``result`` and, if asked for, the video with boxes and labels to ``annotated``.

    Raises:
        Stopped: ``stopped`` was set.
        MediaError: the video broke off; its last record says so, and the records before it are complete.
    """
    began = time.monotonic()

    def opened(duration_s: float | None) -> None:
        progress.frames, progress.duration_s = 0, duration_s

    records = video_records(
        pipeline,
        partial(_open, path, name, settings),
        name=name,
        every_s=every_s,
        max_faces=settings.max_faces,
        max_s=settings.max_video_s,
        annotated=annotated,
        untrusted=True,
        on_open=opened,
    )
    with result.open("w", encoding="utf-8") as out, closing(records):
        for record in records:
            if stopped.is_set():
                raise Stopped
            out.write(json.dumps(record.to_dict(), allow_nan=False) + "\n")
            if isinstance(record, FrameResult):
                progress.frames, progress.time_s, progress.seconds = progress.frames + 1, record.time_s or 0.0, time.monotonic() - began


def _open(path: Path, name: str, settings: Settings) -> Video:
    with path.open("rb") as file:
        start = file.read(MAGIC_BYTES)
    if not VIDEOS.match(start):  # a playlist, for example, would make FFmpeg open other files and addresses
        raise UnsupportedMediaError(f"expected a video (MP4, MOV, WebM, MKV, AVI, Ogg, FLV or MPEG), got {name}; convert it to MP4")
    try:
        video = Video(path, limits=ReadLimits(max_pixels=settings.max_pixels), untrusted=True, name=name)
    except MediaError as error:
        raise named(error, display_name(path), name) from None
    try:
        check_length(video.duration_s, settings.max_video_s, name)
    except TooLargeError:
        video.close()
        raise
    return video
