"""One uploaded video -> its records and its annotated copy."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from mien.draw import annotate
from mien.errors import MediaError, TooLargeError, UnsupportedMediaError
from mien.media.images import VIDEOS, ReadLimits
from mien.media.video import Video, left_out_before
from mien.media.video_writer import VideoWriter
from mien.pipeline import Pipeline
from mien.results import ErrorResult, FrameResult
from mien.serve.settings import Settings
from mien.timeline import Timeline

LONGEST_START = 16  # bytes that tell a container


class Stopped(Exception):  # noqa: N818  (a wish, not a fault)
    """The caller, or the service, wants no more of it."""


@dataclass
class Progress:
    """How far a video is; written by the thread that works, read by others."""

    frames: int = 0
    time_s: float = 0.0
    duration_s: float | None = None
    seconds: float = 0.0  # of work

    @property
    def share(self) -> float:
        """From 0 to 1; 0 while the length is unknown."""
        return min(1.0, self.time_s / self.duration_s) if self.duration_s else 0.0

    @property
    def frames_per_second(self) -> float | None:
        """Frames analysed a second, None before the first."""
        return self.frames / self.seconds if self.seconds else None


def check_video(path: Path, name: str, settings: Settings) -> None:
    """Raise MediaError, which names the caller's file and never this machine's, unless ``path`` is a video within the limits."""
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
    """Write one record a frame to ``result`` and, if asked for, the video with boxes and labels to ``annotated``.

    Raises:
        Stopped: ``stopped`` was set.
        MediaError: the video broke; its last record says so, the ones before are complete.
    """
    began = time.monotonic()
    story = Timeline(pipeline.labels)
    broken: MediaError | None = None
    with ExitStack() as stack:
        out = stack.enter_context(result.open("w", encoding="utf-8"))
        try:
            clip = stack.enter_context(closing(_open(path, name, settings)))
            progress.frames, progress.duration_s = 0, clip.duration_s
            writer, told = None, 0
            if annotated:
                rate = min(clip.rate or 25, 1 / every_s) if every_s else clip.rate
                sound_from = str(path) if clip.has_sound else None
                writer = stack.enter_context(VideoWriter(annotated, rate=rate, sound_from=sound_from, untrusted=True))
            stream = pipeline.stream_with_frames(clip.frames(every_s), source=name, max_faces=settings.max_faces)
            for record, frame_rgb in stack.enter_context(closing(stream)):
                if stopped.is_set():
                    raise Stopped
                for damage in left_out_before(clip.left_out[told:], record.frame_index):
                    told += 1
                    out.write(_line(damage))
                _check_length(record.time_s, name, settings)
                out.write(_line(record))
                if writer:
                    story.add(record)
                    writer.write(record.time_s or 0.0, story.draw_graphs(annotate(frame_rgb, record), record))
                progress.frames, progress.time_s, progress.seconds = progress.frames + 1, record.time_s or 0.0, time.monotonic() - began
            if writer:
                writer.write_rest_of_sound()
        except MediaError as error:
            broken = _without(path, name, error)
            out.write(_line(ErrorResult(name, broken.code, str(broken), time_s=progress.time_s)))
    if broken:  # raised when the annotated copy has been finished as well
        raise broken


def _open(path: Path, name: str, settings: Settings) -> Video:
    with path.open("rb") as file:
        start = file.read(LONGEST_START)
    if not VIDEOS.match(start):  # playlists, for example, which would make FFmpeg open other files and addresses
        raise UnsupportedMediaError(f"expected a video (MP4, MOV, WebM, MKV, AVI, Ogg, FLV or MPEG), got {name}; convert it to MP4")
    try:
        video = Video(path, limits=ReadLimits(max_pixels=settings.max_pixels), untrusted=True, name=name)
    except MediaError as error:
        raise _without(path, name, error) from None
    try:
        _check_length(video.duration_s, name, settings)
    except TooLargeError:
        video.close()
        raise
    return video


def _check_length(seconds: float | None, name: str, settings: Settings) -> None:
    if seconds is not None and seconds > settings.max_video_s:
        raise TooLargeError(f"expected at most {settings.max_video_s:g} s of video, got more in {name}; cut it into pieces")


def _without(path: Path, name: str, error: MediaError) -> MediaError:
    """Return the error with the caller's name of the file in the place of its path here."""
    return type(error)(str(error).replace(str(path), name))


def _line(record: FrameResult | ErrorResult) -> str:
    return json.dumps(record.to_dict(), allow_nan=False) + "\n"
