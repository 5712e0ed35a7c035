"""A video file, stream or image sequence -> upright RGB frames with their presentation times.

FFmpeg reads everything, through PyAV; pictures of a sequence are read as photos are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mien.arrays import Frame
from mien.errors import (
    CorruptMediaError,
    MediaError,
    NotFoundError,
    TooLargeError,
    UnsupportedMediaError,
    UsageError,
)
from mien.media import ffmpeg
from mien.media.ffmpeg import SELF_CONTAINED, import_av, open_container, progressive, reading, start_of
from mien.media.images import FORMATS, ReadLimits, display_name, read_photo
from mien.media.sources import GLOB_CHARACTERS, Source, expand
from mien.results import ErrorResult

if TYPE_CHECKING:
    import av.video.stream

SEQUENCE_RATE = 25.0  # frames per second of an image sequence, FFmpeg's own convention
MIN_STEP_S = 1e-6  # between two frames that are looked at
MAX_FRAME_PIXELS = 60_000_000  # of a video, which holds several frames at once; a photo may have more
SHORT_BY_S = 0.5  # a file that ends this much before its header says was cut
STILLS = ("JPEG", "TIFF", "BMP", "PPM", "JPEG 2000", "HEIF")  # photos that never move; of these FFmpeg would read damaged ones, too
TERMINAL_ART = "tty"  # what FFmpeg takes any file for that ends in .txt


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One upright frame: ``index`` counts from 0 in the source, ``time_s`` from its start, ``frame_rgb`` is uint8 (H, W, 3).

    ``picture`` is the name of the file that a frame of a sequence of pictures is; None in a video.
    """

    index: int
    time_s: float
    frame_rgb: Frame
    picture: str | None = None


class Video:
    """An opened file or stream; close it, or use it in a ``with`` block."""

    def __init__(
        self, source: str | Path, *, limits: ReadLimits = ReadLimits(), device: str | None = None, untrusted: bool = False
    ) -> None:
        """Open the first video track.

        Args:
            source: a path or an address that FFmpeg reads.
            limits: bounds on the size of a frame.
            device: FFmpeg's name of a capture system, such as ``v4l2``, when ``source`` is a camera.
            untrusted: take files of the usual containers only, which cannot make FFmpeg open other files and addresses.

        Raises:
            NotFoundError, UnreadableError: the file is not there or may not be read.
            UnsupportedMediaError: not a video.
            CorruptMediaError: a video that is too damaged to open.
            TooLargeError: its frames are over ``limits``.
            FetchError: an address that refuses, or does not answer in time.
            MissingExtraError: PyAV is not installed.
        """
        self.name = display_name(source)
        self._limits = limits
        with reading(self.name):
            self._container = open_container(source, device, SELF_CONTAINED if untrusted else {})
        try:
            self._stream = self._find_stream()
            self._check_size(*self._shown_size(self._stream.width, self._stream.height))
        except BaseException:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        self._start_s = (self._container.start_time or 0) / 1e6
        self.rate = float(self._stream.average_rate) if self._stream.average_rate else None
        self.duration_s = self._container.duration / 1e6 if self._container.duration else None
        self.has_sound = bool(self._container.streams.audio)
        can_be_read_twice = self.duration_s or Path(source).is_file()  # a live stream cannot
        self.sound_from = str(source) if self.has_sound and can_be_read_twice else None
        self.left_out: list[ErrorResult] = []  # a video that breaks ends; see ImageSequence

    def frames(self, every_s: float | None = None) -> Iterator[VideoFrame]:
        """Yield the frames in the order of their times, once; with ``every_s``, the first one at or after every multiple of it.

        Frames are turned as the file says, and stretched to square pixels where it has others; interlaced ones are filled in, HDR is
        brought to the range of a usual screen.

        Raises:
            UsageError: ``every_s`` is not above zero.
            CorruptMediaError: the rest is missing or damaged, after the frames before the break.
            FetchError: the stream stalled.
        """
        return _sampled(self._frames(), check_every(every_s))

    def close(self) -> None:
        """Let the file go."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _frames(self) -> Iterator[_Decoded]:
        time_s, end_s, count = 0.0, 0.0, 0
        with reading(self.name):
            for frame in progressive(self._container.decode(self._stream), self._stream):
                known_s = frame.time - self._start_s if frame.time is not None else count / (self.rate or SEQUENCE_RATE)
                time_s = max(time_s, known_s)  # a few files number frames backwards at a cut
                size_wh = self._shown_size(frame.width, frame.height)
                self._check_size(*size_wh)
                shown_s = frame.duration * frame.time_base if frame.duration and frame.time_base else 1 / (self.rate or SEQUENCE_RATE)
                end_s = max(end_s, time_s + float(shown_s))
                yield _Decoded(count, time_s, frame, size_wh)
                count += 1
        if not count:
            raise CorruptMediaError(f"expected frames, got none in {self.name}; the video track is empty or damaged")
        if (said_s := self._said_duration_s()) and end_s < said_s - SHORT_BY_S:
            raise CorruptMediaError(f"expected {said_s:.2f} s of video, got {time_s:.2f} s in {self.name}, which was cut; copy it again")

    def _said_duration_s(self) -> float | None:
        """Return how long the header says that the video track is, if it does."""
        if self._stream.duration and self._stream.time_base and self._format("mp4"):
            return float(self._stream.duration * self._stream.time_base)
        alone = len(self._container.streams) == 1 and self._format("matroska")
        return self.duration_s if alone else None

    def _format(self, name: str) -> bool:
        return name in (self._container.format.name or "")

    def _find_stream(self) -> av.video.stream.VideoStream:
        cover = import_av().stream.Disposition.attached_pic
        tracks = [stream for stream in self._container.streams.video if not stream.disposition & cover]
        if not tracks or self._format(TERMINAL_ART):
            kinds = ", ".join(sorted({stream.type for stream in self._container.streams})) or "nothing"
            raise UnsupportedMediaError(f"expected a video, got {self.name}, which holds {kinds} ({self._container.format.long_name})")
        return tracks[0]

    def _shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) of a frame in square pixels: the side that the file's own pixels make too short is longer."""
        ratio = float(self._stream.sample_aspect_ratio or 1)
        return (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))

    def _check_size(self, width: int, height: int) -> None:
        most = min(self._limits.max_pixels, MAX_FRAME_PIXELS)
        if width * height > most:
            raise TooLargeError(f"expected frames of at most {most / 1e6:g} megapixels, got {width}x{height} in {self.name}; scale it down")


class ImageSequence:
    """Pictures of a folder or a glob, sorted by name, or a single one, as a video of :data:`SEQUENCE_RATE` frames per second.

    A picture that cannot be read leaves a gap and, once its turn has come, a record in ``left_out``; the next one stands in
    for it when not every frame is wanted.
    """

    def __init__(self, source: str, *, limits: ReadLimits = ReadLimits()) -> None:
        """List the pictures.

        Raises:
            MediaError: there are none.
        """
        self.name = display_name(source)
        entries = list(expand([source], limits=limits))
        self._pictures = [entry for entry in entries if isinstance(entry, Source)]
        self.left_out = [entry for entry in entries if isinstance(entry, ErrorResult)]
        if not self._pictures:
            raise NotFoundError(f"expected pictures in {self.name}, got none; name a folder or quote a glob such as 'shots/*.png'")
        self._limits = limits
        self._count_read = 0
        self.rate: float | None = SEQUENCE_RATE
        self.duration_s: float | None = len(self._pictures) / SEQUENCE_RATE
        self.has_sound = False
        self.sound_from: str | None = None

    def frames(self, every_s: float | None = None) -> Iterator[VideoFrame]:
        """Yield the pictures as frames, once; see :meth:`Video.frames`.

        Raises:
            UsageError: ``every_s`` is not above zero.
            CorruptMediaError: none could be read.
        """
        return _sampled(self._frames(), check_every(every_s))

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _frames(self) -> Iterator[_Picture]:
        for index, picture in enumerate(self._pictures):
            time_s = index / SEQUENCE_RATE
            yield _Picture(index, time_s, partial(self._read, picture, index, time_s), picture.name)
        if not self._count_read:
            raise CorruptMediaError(f"expected pictures that can be read in {self.name}, got {len(self._pictures)} that cannot")

    def _read(self, picture: Source, index: int, time_s: float) -> Frame | None:
        try:
            frame = read_photo(picture.data, limits=self._limits).frame_rgb
        except MediaError as error:
            self.left_out.append(ErrorResult(picture.name, error.code, str(error), index, time_s))
            return None
        self._count_read += 1
        return frame


def open_video(source: str | Path, *, limits: ReadLimits = ReadLimits()) -> Video | ImageSequence:
    """Return the video file, stream, or image sequence (a folder, a glob or a photo) that ``source`` names; raises as :class:`Video`."""
    text = str(source)
    if not text:
        raise NotFoundError("expected a video file, a stream's address, a folder or a glob, got an empty argument; name one")
    is_glob = not GLOB_CHARACTERS.isdisjoint(text) and not Path(text).exists()
    if "://" not in text and (is_glob or Path(text).is_dir() or _is_still(text)):
        return ImageSequence(text, limits=limits)
    return Video(source, limits=limits)


Clip = Video | ImageSequence


def check_every(every_s: float | None) -> float | None:
    """Return ``every_s`` if it is None or a finite time of MIN_STEP_S or more, raise UsageError otherwise."""
    if every_s is not None and not MIN_STEP_S <= every_s < math.inf:
        raise UsageError(f"expected a sampling step above 0 s, at least {MIN_STEP_S:g}, got {every_s}; leave it out for every frame")
    return every_s


@dataclass(frozen=True, eq=False)
class _Decoded:
    """A frame of a video that was not turned into RGB of ``size_wh`` yet; sampling skips that work."""

    index: int
    time_s: float
    frame: Any
    size_wh: tuple[int, int]

    def rgb(self) -> Frame:
        return ffmpeg.rgb(self.frame, *self.size_wh)


@dataclass(frozen=True, eq=False)
class _Picture:
    """A picture of a sequence that was not read yet; ``rgb`` gives None where it cannot be."""

    index: int
    time_s: float
    rgb: Callable[[], Frame | None]
    name: str


def _sampled(frames: Iterable[_Decoded | _Picture], every_s: float | None) -> Iterator[VideoFrame]:
    due = 0
    for frame in frames:
        step = int(frame.time_s / every_s + 1e-6) if every_s is not None else due
        if step >= due and (pixels := frame.rgb()) is not None:
            due = step + 1
            yield VideoFrame(frame.index, frame.time_s, pixels, frame.name if isinstance(frame, _Picture) else None)


def _is_still(name: str) -> bool:
    """Return whether a file is one of :data:`STILLS` by name and by content; a stream of JPEGs has another name."""
    layouts = [FORMATS[kind] for kind in STILLS if name.lower().endswith(FORMATS[kind].suffixes)]
    return any(re.match(layout.magic, start_of(name) or b"", re.DOTALL) for layout in layouts)
