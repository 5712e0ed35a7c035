"""A video file, stream or image sequence -> upright RGB frames with their presentation times.

FFmpeg reads videos and streams, through PyAV. Pictures of a sequence are read in the same way as photos.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

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
from mien.media.clock import JUMPED, MAX_GAP_S, MAX_JITTER_S, RESTARTS, Clock
from mien.media.ffmpeg import SELF_CONTAINED, import_av, open_container, progressive, reading, start_of
from mien.media.images import FORMATS, ReadLimits, display_name, read_photo
from mien.media.sources import GLOB_CHARACTERS, Source, entries
from mien.media.whole import is_cut
from mien.results import ErrorResult

if TYPE_CHECKING:
    import av.video.stream

SEQUENCE_RATE = 25.0  # frames per second of an image sequence, FFmpeg's own convention
MIN_STEP_S = 1e-6  # minimum time between two analysed frames
MAX_FRAME_PIXELS = 60_000_000  # for a video, which needs several frames in memory; a photo may have more
SHORT_BY_S = 0.5  # a file that ends earlier than its header says, by at least this time, was cut
STILLS = ("JPEG", "TIFF", "BMP", "PPM", "JPEG 2000", "HEIF")  # still photo formats; FFmpeg would read even damaged files of these
TERMINAL_ART = "tty"  # FFmpeg's format for every file that ends in .txt
WITHOUT_TIMES = ("avi",)  # formats that number frames in decoding order and have no presentation times
MAX_FLUSHES = 64  # more frames than a decoder buffers
HURRIED_S, UNHURRIED_S = 0.01, 0.1  # animated WebP: a duration up to the first value becomes the second, as in browsers
DAMAGED = "the file is damaged here; parts of this picture may be wrong"


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One upright frame. ``index`` counts from 0 in the source, ``time_s`` counts from its start, ``frame_rgb`` is uint8 (H, W, 3).

    ``picture`` is the file name of a frame of an image sequence; None in a video. ``notes`` say what was corrected in this frame.
    """

    index: int
    time_s: float
    frame_rgb: Frame
    picture: str | None = None
    notes: tuple[str, ...] = ()


class Video:
    """An open file or stream. Close it, or use it in a ``with`` block.

    Damaged frames are skipped. ``left_out`` gets one record per damaged place, as soon as an intact frame has come after it.
    ``sound_from`` is the name of the file with the sound of the video. It is None if there is none, or if the source cannot be read twice.
    """

    part = "damaged place"  # what one entry of left_out means

    def __init__(
        self,
        source: str | Path,
        *,
        limits: ReadLimits = ReadLimits(),
        device: str | None = None,
        untrusted: bool = False,
        name: str | None = None,
    ) -> None:
        """Open the first video track.

        Args:
            source: a path or an address that FFmpeg can read.
            limits: bounds on the size of a frame.
            device: FFmpeg's name of a capture system, such as ``v4l2``, when ``source`` is a camera.
            untrusted: accept only the usual containers, which cannot make FFmpeg open other files and addresses.
            name: name of the video in messages; ``source`` if None.

        Raises:
            NotFoundError, UnreadableError: the file does not exist or must not be read.
            UnsupportedMediaError: the file is not a video.
            CorruptMediaError: the video is too damaged to open.
            TooLargeError: the frames are over ``limits``.
            FetchError: the address refuses, or does not answer in time.
            MissingExtraError: PyAV is not installed.
        """
        self.name = name or display_name(source)
        self._source = source
        self._limits = limits
        with reading(self.name, source, began=lambda: False):
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
        is_file = os.path.isfile(source)  # noqa: PTH113  (Path.is_file can raise)
        again = device is None and (is_file or ("://" in str(source) and bool(self.duration_s)))
        self.sound_from = str(source) if self.has_sound and again else None
        self.left_out: list[ErrorResult] = []

    def frames(self, every_s: float | None = None) -> Iterator[VideoFrame]:
        """Yield the frames once, in the order of their times. With ``every_s``, yield the first frame at or after every multiple of it.

        Frames are rotated and mirrored as the file says, and resized to square pixels. Interlaced frames are deinterlaced. HDR is
        converted to the range of a usual screen. Times never decrease. If the file's clock restarts, for example where two recordings are
        joined, the time increases by the duration of the previous frame, and ``notes`` of the first frame after it say so. ``index``
        also counts the frames that were left out.

        Raises:
            UsageError: ``every_s`` is zero or negative.
            CorruptMediaError: the rest is missing or damaged. All frames before the damage are yielded first.
            FetchError: the stream stalls.
        """
        return _sampled(self._frames(), check_every(every_s))

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _frames(self) -> Iterator[_Decoded]:
        clock = Clock(self._start_s, max_gap_s=MAX_GAP_S if self._container.format.flags & RESTARTS else math.inf)
        time_s, shown = 0.0, 0
        pictures = _Pictures(self._stream, self._format(*WITHOUT_TIMES))
        with reading(self.name, self._source, began=lambda: shown > 0):
            for frame in progressive(pictures.decoded(self._container.demux(self._stream)), self._stream):
                lasts_s = frame.duration * frame.time_base if frame.duration and frame.time_base else 1 / (self.rate or SEQUENCE_RATE)
                if pictures.damaged:
                    self._leave_out(shown + pictures.lost, pictures.damaged, clock.end_s)
                    pictures.lost += pictures.damaged
                pictures.damaged = 0
                time_s, jumped = clock.at(frame.time, float(lasts_s))
                size_wh = self._shown_size(frame.width, frame.height)
                self._check_size(*size_wh)
                notes = (*((JUMPED,) if jumped else ()), *((DAMAGED,) if frame.is_corrupt else ()))
                yield _Decoded(shown + pictures.lost, time_s, frame, size_wh, notes)
                shown += 1
        if not shown:
            raise CorruptMediaError(f"expected frames, got none in {self.name}; the video track is empty or damaged")
        said_s = self._said_duration_s() or 0.0
        if is_cut(self._source) or max(clock.end_s, clock.end_s + self._start_s) < said_s - SHORT_BY_S:
            of = f"{said_s:.2f} s of video" if said_s else "a whole video"
            raise CorruptMediaError(f"expected {of}, got {time_s:.2f} s in {self.name}, which was cut; copy it again")
        if pictures.damaged:
            raise CorruptMediaError(f"expected a whole video, got {time_s:.2f} s in {self.name}, whose end is damaged; copy it again")

    def _leave_out(self, index: int, count: int, time_s: float) -> None:
        pictures = "1 picture is" if count == 1 else f"{count} pictures are"
        message = f"expected a whole video, got damage at {time_s:.2f} s in {self.name}: {pictures} left out; copy or record it again"
        self.left_out.append(ErrorResult(self.name, CorruptMediaError.code, message, index, time_s))

    def _said_duration_s(self) -> float | None:
        """Return the duration of the video track in seconds, as the header gives it, or None."""
        if self._stream.duration and self._stream.time_base and self._format("mp4"):
            return float(self._stream.duration * self._stream.time_base)
        alone = len(self._container.streams) == 1 and self._format("matroska")
        return self.duration_s if alone else None

    def _format(self, *names: str) -> bool:
        return any(name in (self._container.format.name or "") for name in names)

    def _find_stream(self) -> av.video.stream.VideoStream:
        cover = import_av().stream.Disposition.attached_pic
        tracks = [stream for stream in self._container.streams.video if not stream.disposition & cover]
        if not tracks or self._format(TERMINAL_ART):
            kinds = ", ".join(sorted({stream.type for stream in self._container.streams})) or "nothing"
            raise UnsupportedMediaError(f"expected a video, got {self.name}, which holds {kinds} ({self._container.format.long_name})")
        return tracks[0]

    def _shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) of a frame in square pixels. For other pixel shapes, one side is enlarged."""
        ratio = float(self._stream.sample_aspect_ratio or 1)
        return (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))

    def _check_size(self, width: int, height: int) -> None:
        most = min(self._limits.max_pixels, MAX_FRAME_PIXELS)
        if width * height > most:
            raise TooLargeError(f"expected frames of at most {most / 1e6:g} megapixels, got {width}x{height} in {self.name}; scale it down")


class ImageSequence:
    """The pictures of a folder or a glob, sorted by name, or one picture, as a video of :data:`SEQUENCE_RATE` frames per second.

    A picture that cannot be read leaves a gap in the times, and later a record in ``left_out``. With ``every_s``, the next picture
    replaces it. Every picture of the folder or the glob is a frame of its own, even if several are links to one file.
    """

    part = "picture"  # what one entry of left_out means
    sound_from: str | None = None

    def __init__(self, source: str, *, limits: ReadLimits = ReadLimits()) -> None:
        """List the pictures.

        Raises:
            MediaError: there are no pictures.
        """
        self.name = display_name(source)
        found = list(entries(source, limits=limits))
        self._pictures = [entry for entry in found if isinstance(entry, Source)]
        self.left_out = [entry for entry in found if isinstance(entry, ErrorResult)]
        if not self._pictures:
            raise NotFoundError(f"expected pictures in {self.name}, got none; name a folder or quote a glob such as 'shots/*.png'")
        self._limits = limits
        self._count_read = 0
        self.rate: float | None = SEQUENCE_RATE
        self.duration_s: float | None = len(self._pictures) / SEQUENCE_RATE
        self.has_sound = False
        self.sound_from: str | None = None

    def frames(self, every_s: float | None = None) -> Iterator[VideoFrame]:
        """Yield the pictures once, as frames; see :meth:`Video.frames`.

        Raises:
            UsageError: ``every_s`` is zero or negative.
            CorruptMediaError: none of the pictures can be read.
        """
        return _sampled(self._frames(), check_every(every_s))

    def close(self) -> None:
        """Do nothing, because no file is open."""

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


class AnimatedPicture:
    """An animated WebP as a video. Pillow reads it, because FFmpeg cannot."""

    part = "picture"
    sound_from: str | None = None

    def __init__(self, path: Path, *, limits: ReadLimits = ReadLimits(), name: str | None = None) -> None:
        """Open the file.

        Raises:
            MediaError: the file cannot be read.
        """
        self.name = name or display_name(path)
        self._limits = limits
        self._first_rgb = read_photo(path, limits=limits).frame_rgb  # refuses a file that is too large, damaged or unreadable
        self._image = Image.open(path)
        self.rate: float | None = None
        self.duration_s: float | None = None
        self.has_sound = False
        self.left_out: list[ErrorResult] = []

    def frames(self, every_s: float | None = None) -> Iterator[VideoFrame]:
        """Yield the pictures once, as frames; see :meth:`Video.frames`.

        Raises:
            UsageError: ``every_s`` is zero or negative.
            CorruptMediaError: the rest is damaged. All frames before the damage are yielded first.
        """
        return _sampled(self._frames(), check_every(every_s))

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _frames(self) -> Iterator[_Picture]:
        time_s = 0.0
        for index in range(getattr(self._image, "n_frames", 1)):
            frame_rgb = self._first_rgb if index == 0 else self._read(index)
            asked_s = float(self._image.info.get("duration", 0)) / 1000 if index else self._first_s()
            yield _Picture(index, time_s, lambda shown=frame_rgb: shown, None)  # type: ignore[misc]
            time_s += asked_s if asked_s > HURRIED_S else UNHURRIED_S

    def _first_s(self) -> float:
        self._read(0)
        return float(self._image.info.get("duration", 0)) / 1000

    def _read(self, index: int) -> Frame:
        try:
            self._image.seek(index)
            self._image.load()
        except (OSError, EOFError, ValueError) as error:
            raise CorruptMediaError(f"expected picture {index + 1} of {self.name}, got damage ({error}); copy or save it again") from None
        return read_photo(self._image, limits=self._limits).frame_rgb


Clip = Video | ImageSequence | AnimatedPicture


def open_video(source: str | Path, *, limits: ReadLimits = ReadLimits(), name: str | None = None) -> Clip:
    """Return the video file, stream, animated picture, or image sequence (a folder, a glob or a photo) at ``source``.

    Messages call it ``name``, if given. Raises the errors of :class:`Video`.
    """
    text = str(source)
    if not text:
        raise NotFoundError("expected a video file, a stream's address, a folder or a glob, got an empty argument; name one")
    is_address = "://" in text
    is_glob = not is_address and not GLOB_CHARACTERS.isdisjoint(text) and not os.path.exists(text)  # noqa: PTH110  (Path.exists can raise)
    if not is_address and (is_glob or os.path.isdir(text) or _is_still(text)):  # noqa: PTH112
        return ImageSequence(text, limits=limits)
    if _is_animated_webp(text):
        return AnimatedPicture(Path(source), limits=limits, name=name)
    return Video(source, limits=limits, name=name)


def left_out_before(errors: Sequence[ErrorResult], index: int | None) -> list[ErrorResult]:
    """Return the records of ``left_out`` that come before the frame ``index``. The reader is a few frames ahead of the results."""
    return list(takewhile(lambda error: index is None or (error.frame_index or 0) < index, errors))


def check_every(every_s: float | None) -> float | None:
    """Return ``every_s`` if it is None or a finite time of at least MIN_STEP_S seconds. Otherwise raise UsageError."""
    if every_s is not None and not MIN_STEP_S <= every_s < math.inf:
        raise UsageError(f"expected a sampling step above 0 s, at least {MIN_STEP_S:g}, got {every_s}; leave it out for every frame")
    return every_s


@dataclass(frozen=True, eq=False)
class _Decoded:
    """A decoded frame before its conversion to RGB of ``size_wh``. Sampling skips this work for frames that are not needed."""

    index: int
    time_s: float
    frame: Any
    size_wh: tuple[int, int]
    notes: tuple[str, ...] = ()
    name: str | None = None

    def rgb(self) -> Frame:
        return ffmpeg.rgb(self.frame, *self.size_wh)


@dataclass(frozen=True, eq=False)
class _Picture:
    """A picture of a sequence before it is read. ``rgb`` returns None if it cannot be read."""

    index: int
    time_s: float
    rgb: Callable[[], Frame | None]
    name: str | None
    notes: tuple[str, ...] = ()


class _Pictures:
    """Packets -> decoded frames. ``damaged`` counts the frames that failed to decode since the last intact frame."""

    def __init__(self, stream: av.video.stream.VideoStream, without_times: bool) -> None:
        self._stream = stream
        self._by_dts = without_times
        self._shift: int | None = None
        self._last: tuple[int, int] | None = None  # pts, dts
        self._seen_key = False
        self.damaged = 0
        self.lost = 0  # lost frames before the frame that was just yielded

    def decoded(self, packets: Iterable[Any]) -> Iterator[Any]:
        """Yield the frames of the packets. Packets before the first key frame cannot be decoded and do not count as damage."""
        av = import_av()
        for packet in packets:
            self._seen_key = self._seen_key or packet.is_keyframe
            for _ in range(1 if packet.size else MAX_FLUSHES):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    self.damaged += self._seen_key
                    continue
                except av.error.EOFError:
                    break
                for frame in frames:
                    self._set_time(frame)
                    yield frame
                break

    def _set_time(self, frame: Any) -> None:
        """Use the decoding time of a frame if its presentation time is only a guess, as when it decreases slightly."""
        pts, dts = frame.pts, frame.dts
        if self._last is not None:
            last_pts, last_dts = self._last
            if dts is None:  # the last few frames of a file
                dts = last_dts + max(1, frame.duration)
            if not self._by_dts and pts is not None and 0 < (last_pts - pts) * frame.time_base < MAX_JITTER_S and dts > last_dts:
                self._by_dts = True
                self._shift = last_pts - last_dts
        if pts is None or dts is None:
            return
        if self._by_dts:
            self._shift = -dts if self._shift is None else self._shift
            frame.pts = pts = dts + self._shift
        self._last = pts, dts


def _sampled(frames: Iterable[_Decoded | _Picture], every_s: float | None) -> Iterator[VideoFrame]:
    due = 0
    notes: tuple[str, ...] = ()  # notes of frames that are not analysed
    for frame in frames:
        notes += frame.notes
        step = int(frame.time_s / every_s + 1e-6) if every_s is not None else due
        if step >= due and (pixels := frame.rgb()) is not None:
            due = step + 1
            yield VideoFrame(frame.index, frame.time_s, pixels, frame.name, tuple(dict.fromkeys(notes)))
            notes = ()


def _is_still(name: str) -> bool:
    """Return whether both the name and the content of a file are of :data:`STILLS`. A stream of JPEGs has another ending."""
    layouts = [FORMATS[kind] for kind in STILLS if name.lower().endswith(FORMATS[kind].suffixes)]
    return any(re.match(layout.magic, start_of(name) or b"", re.DOTALL) for layout in layouts)


def _is_animated_webp(name: str) -> bool:
    start = start_of(name, 21) or b""
    return len(start) == 21 and start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X" and bool(start[20] & 0x02)
