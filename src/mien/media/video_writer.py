"""Frames -> an MP4 that browsers play: H.264, its index at the front, with the sound of the source."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np

from mien.arrays import Frame
from mien.atomic import draft_of
from mien.errors import UsageError
from mien.media.ffmpeg import SELF_CONTAINED, as_ffmpeg, import_av

TIME_BASE = Fraction(1, 90_000)
QUALITY, PRESET = "21", "veryfast"  # x264's constant rate factor: annotated text stays sharp
SECONDS_A_KEY_FRAME = 2
AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})  # Hz
SOUND_CODECS = frozenset({"aac", "mp3", "opus", "flac", "ac3", "eac3"})  # what MP4 holds and browsers play; the rest becomes AAC


class VideoWriter:
    """A file that gets its name when it is whole; until then it is a hidden ``.NAME.part`` beside it.

    Leaving the ``with`` block finishes the file, also on Ctrl-C; any other exception removes it.
    """

    def __init__(self, path: Path, *, rate: float | None = None, sound_from: str | None = None, untrusted: bool = False) -> None:
        """Make the file.

        Args:
            path: ends in ``.mp4``.
            rate: approximate number of frames per second, a hint for the encoder; the exact times of the frames are kept.
            sound_from: a file whose first audio track goes along; None, or a file without one, for silence.
            untrusted: take that file as :class:`~mien.media.video.Video` takes one of strangers.

        Raises:
            UsageError: another ending, or a folder that cannot be written.
        """
        if path.suffix.lower() != ".mp4":
            raise UsageError(f"an annotated video is an .mp4 file, got {path.name!r}; choose such a name")
        self._path, self._part = path, draft_of(path)
        av = import_av()
        try:
            self._part.touch()  # FFmpeg opens it with the first packet, which would be late to complain
            self._container = av.open(as_ffmpeg(self._part), "w", format="mp4", options={"movflags": "+faststart"})
        except OSError as error:
            raise UsageError(f"expected a folder that can be written, {path.parent} cannot ({error.strerror})") from None
        self._rate = Fraction(rate or 25).limit_denominator(1001)
        self._stream: Any = None
        self._last_pts = -1
        self._sound: _Sound | None = None
        try:
            self._sound = _Sound(self._container, sound_from, SELF_CONTAINED if untrusted else {}) if sound_from else None
        except BaseException:
            self.discard()
            raise

    def write(self, time_s: float, frame_rgb: Frame) -> None:
        """Append a frame, uint8 (H, W, 3); an odd side is filled up by repeating its last line, later sizes are scaled to the first.

        Raises:
            OSError: the disk is full, for example.
        """
        height, width = frame_rgb.shape[:2]
        if self._stream is None:
            self._stream = self._add_stream(width + width % 2, height + height % 2)
        if height % 2 or width % 2:
            frame_rgb = np.pad(frame_rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = import_av().VideoFrame.from_ndarray(np.ascontiguousarray(frame_rgb), format="rgb24")
        frame = frame.reformat(self._stream.width, self._stream.height, "yuv420p", dst_colorspace="ITU709")
        self._last_pts = max(self._last_pts + 1, round(time_s / TIME_BASE))
        frame.pts, frame.time_base = self._last_pts, TIME_BASE
        self._container.mux(self._stream.encode(frame))
        if self._sound:
            self._sound.copy_until(time_s)

    def write_rest_of_sound(self) -> None:
        """Append the sound after the last frame, when the source was read to its end."""
        if self._sound and self._stream is not None:
            self._sound.copy_until(math.inf)

    def close(self) -> None:
        """Finish the file and give it its name; without a single frame there is no file.

        Raises:
            OSError: the last bytes could not be written; nothing is left under the name.
        """
        if self._stream is None:
            self.discard()
            return
        try:
            self._container.mux(self._stream.encode(None))
            if self._sound:
                self._sound.close()
            self._container.close()
        except BaseException:
            self.discard()
            raise
        os.replace(self._part, self._path)

    def discard(self) -> None:
        """Remove what was written."""
        av = import_av()
        with suppress(OSError, av.error.FFmpegError):
            if self._sound:
                self._sound.close()
            self._container.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.discard()

    def _add_stream(self, width: int, height: int) -> Any:
        stream = self._container.add_stream("libx264", rate=self._rate, options={"crf": QUALITY, "preset": PRESET})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base = TIME_BASE
        context.gop_size = max(1, round(SECONDS_A_KEY_FRAME * self._rate))
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709, as browsers assume for what they show
        context.color_range = 1
        return stream


class _Sound:
    """The first audio track of a file, copied in step with the pictures; re-encoded where MP4 cannot hold it."""

    def __init__(self, output: Any, source: str, options: dict[str, str]) -> None:
        av = import_av()
        self._output = output
        self._input = av.open(as_ffmpeg(source), metadata_errors="replace", options=options)
        self._packets = iter(())
        self._waiting: Any = None
        if not self._input.streams.audio:
            return
        track = self._input.streams.audio[0]
        self._start_s = (self._input.start_time or 0) / 1e6
        if track.codec_context.name in SOUND_CODECS:
            self._packets = self._copied(track, output.add_stream_from_template(track))
        else:
            rate = track.rate if track.rate in AAC_RATES else max(AAC_RATES)
            self._packets = self._encoded(track, output.add_stream("aac", rate=rate), rate)

    def copy_until(self, time_s: float) -> None:
        """Write the packets that start before ``time_s``; damage in the source's sound ends it."""
        av = import_av()
        with suppress(av.error.FFmpegError):
            while (packet := self._waiting or next(self._packets, None)) is not None:
                self._waiting = packet
                if packet.pts * packet.time_base > time_s:
                    return
                self._waiting = None
                self._output.mux(packet)

    def close(self) -> None:
        """Let the source go."""
        self._packets = iter(())
        self._input.close()

    def _copied(self, track: Any, into: Any) -> Iterator[Any]:
        shift = round(self._start_s / track.time_base)
        for packet in self._input.demux(track):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = into
            yield packet

    def _encoded(self, track: Any, into: Any, rate: int) -> Iterator[Any]:
        resampler = import_av().AudioResampler(format="fltp", layout="stereo" if track.channels > 1 else "mono", rate=rate)
        for frame in self._input.decode(track):
            if frame.pts is not None:
                frame.pts -= round(self._start_s / frame.time_base)
            for part in resampler.resample(frame):
                yield from into.encode(part)
        yield from into.encode(None)
