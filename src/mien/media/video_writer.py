"""Frames -> an MP4 that browsers play: H.264, with the index at the front and the sound of the source."""

from __future__ import annotations

import errno
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np

from mien.arrays import Frame
from mien.atomic import draft_of
from mien.errors import UsageError
from mien.media.clock import MAX_GAP_S, MAX_JITTER_S, RESTARTS
from mien.media.ffmpeg import SELF_CONTAINED, as_ffmpeg, import_av

TIME_BASE = Fraction(1, 90_000)
QUALITY, PRESET = "21", "veryfast"  # x264's constant rate factor: annotated text stays sharp
SECONDS_A_KEY_FRAME = 2
AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})  # Hz
MAX_HELD = 512  # packets of sound that wait until the clock of the frames restarts, about ten seconds
NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)
SOUND_GAP_S = 0.1  # a shorter gap in the source is a rounding error, and not silence
# During writing, the file is a sequence of complete fragments, so that a full disk destroys only the last one.
FRAGMENTS = {"movflags": "+frag_keyframe+delay_moov+default_base_moof"}
SOUND_CODECS = frozenset({"aac", "mp3", "opus", "flac", "ac3", "eac3"})  # codecs that MP4 allows and browsers play; others become AAC


class VideoWriter:
    """A video file that receives its name when it is complete. Until then it is a hidden ``.NAME.part`` in the same folder.

    The end of the ``with`` block always finishes the file. After an exception, Ctrl-C or a full disk, it holds the frames written so far,
    and plays.
    ``sound_lost`` says why sound of the source is missing.
    """

    def __init__(self, path: Path, *, rate: float | None = None, sound_from: str | None = None, untrusted: bool = False) -> None:
        """Create the file.

        Args:
            path: ends in ``.mp4``.
            rate: approximate number of frames per second, a hint for the encoder; the exact times of the frames are kept.
            sound_from: a file whose first audio track is copied. With None, or without an audio track, there is no sound.
            untrusted: open ``sound_from`` with the limits of :class:`~mien.media.video.Video` for untrusted files.

        Raises:
            UsageError: the path has another ending, or its folder cannot be written.
        """
        if path.suffix.lower() != ".mp4":
            raise UsageError(f"an annotated video is an .mp4 file, got {path.name!r}; choose such a name")
        self._path, self._part = path, draft_of(path)
        av = import_av()
        try:
            self._part.touch()  # FFmpeg opens the file only with the first packet; fail early instead
            self._container = av.open(as_ffmpeg(self._part), "w", format="mp4", options=FRAGMENTS)
        except OSError as error:
            raise UsageError(f"expected a folder that can be written, {path.parent} cannot ({error.strerror})") from None
        self._rate = Fraction(rate or 25).limit_denominator(1001)
        self._stream: Any = None
        self._last_pts = -1
        self._sound: _Sound | None = None
        self._sound_lost = ""
        if sound_from:
            try:
                self._sound = _Sound(self._container, sound_from, SELF_CONTAINED if untrusted else {})
            except (av.error.FFmpegError, ValueError) as error:
                self._sound_lost = str(error)

    @property
    def sound_lost(self) -> str:
        """Why sound of the source is missing; empty if it is complete."""
        return self._sound.lost if self._sound else self._sound_lost

    def write(self, time_s: float, frame_rgb: Frame) -> None:
        """Append a frame, uint8 (H, W, 3). An odd side gets its last line twice. Later frames are resized to the first one.

        Raises:
            OSError: the file cannot be written, for example because the disk is full.
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
        """Append the sound after the last frame. Call it when the source has been read to its end."""
        if self._sound and self._stream is not None:
            self._sound.copy_until(math.inf)

    def close(self) -> None:
        """Finish the file and give it its name. Without any frame, there is no file.

        Raises:
            OSError: the last bytes cannot be written. The file holds what was written before.
        """
        if self._stream is None:
            self.discard()
            return
        try:
            self._container.mux(self._stream.encode(None))
            if self._sound:
                self._sound.close()
            self._container.close()
            if not _fragments(self._part)[1]:  # FFmpeg does not report every failed write
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            self._keep_whole_fragments()
            raise
        os.replace(self._part, self._path)  # the file plays already; the next step lets it start at once, also over a network
        self._put_index_first()

    def discard(self) -> None:
        """Remove what was written."""
        self._let_go()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, OSError):
            self.close()
        else:
            with suppress(OSError):  # only the first error is reported
                self.close()

    def _let_go(self) -> None:
        av = import_av()
        with suppress(OSError, av.error.FFmpegError):
            if self._sound:
                self._sound.close()
            self._container.close()

    def _keep_whole_fragments(self) -> None:
        """Remove the incomplete end that a full disk left, and give the rest its name."""
        with suppress(OSError):
            whole, _ = _fragments(self._part)
            self._let_go()
            if whole:
                os.truncate(self._part, whole)
                os.replace(self._part, self._path)
        self._part.unlink(missing_ok=True)

    def _put_index_first(self) -> None:
        """Rewrite the fragments as one file with its index at the front. Without disk space for it, the fragments stay."""
        av = import_av()
        try:
            self._part.touch()  # FFmpeg does not read an existing path as a protocol
            options = {"movflags": "+faststart"}
            with av.open(as_ffmpeg(self._path)) as written, av.open(as_ffmpeg(self._part), "w", format="mp4", options=options) as output:
                streams = {stream.index: output.add_stream_from_template(stream) for stream in written.streams}
                for packet in written.demux():
                    if packet.dts is not None:
                        packet.stream = streams[packet.stream_index]
                        output.mux(packet)
            os.replace(self._part, self._path)
        except (OSError, av.error.FFmpegError):
            pass
        finally:
            self._part.unlink(missing_ok=True)

    def _add_stream(self, width: int, height: int) -> Any:
        stream = self._container.add_stream("libx264", rate=self._rate, options={"crf": QUALITY, "preset": PRESET})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base = TIME_BASE
        context.gop_size = max(1, round(SECONDS_A_KEY_FRAME * self._rate))
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709, which browsers assume
        context.color_range = 1
        return stream


class _Sound:
    """The first audio track of a file, copied in step with the frames. It is re-encoded if MP4 does not allow its codec."""

    def __init__(self, output: Any, source: str, options: dict[str, str]) -> None:
        av = import_av()
        self.lost = ""
        self._output = output
        self._input = av.open(as_ffmpeg(source), metadata_errors="replace", options=options)
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None
        if not self._input.streams.audio:
            return
        track = self._input.streams.audio[0]
        if track.codec_context.codec.canonical_name in SOUND_CODECS:
            self._packets = self._copied(track, output.add_stream_from_template(track))
        else:
            rate = track.rate if track.rate in AAC_RATES else max(AAC_RATES)
            self._packets = self._encoded(track, output.add_stream("aac", rate=rate), rate)

    def copy_until(self, time_s: float) -> None:
        """Write the packets that start before ``time_s``.

        Raises:
            OSError: the disk is full.
        """
        av = import_av()
        while (packet := self._waiting or self._next()) is not None:
            self._waiting = packet
            if packet.pts * packet.time_base > time_s:
                return
            self._waiting = None
            try:
                self._output.mux(packet)
            except av.error.FFmpegError as error:
                if error.errno in NO_ROOM:
                    raise
                self._end(error)

    def close(self) -> None:
        """Close the source."""
        self._packets = iter(())
        self._input.close()

    def _next(self) -> Any:
        """Return the next packet. An error in the source ends the sound, but not the frames."""
        av = import_av()
        try:
            return next(self._packets, None)
        except (av.error.FFmpegError, ValueError) as error:
            self._end(error)
            return None

    def _end(self, error: Exception) -> None:
        self.lost = str(error)
        self._packets = iter(())

    def _copied(self, track: Any, into: Any) -> Iterator[Any]:
        last = -math.inf
        plain = _as_mp4(track.codec_context, track)
        for packet, shift_s in self._in_step(track):
            shift = round(shift_s / packet.time_base)
            if packet.pts is None or packet.dts is None or packet.dts + shift <= last:
                continue
            packet.pts += shift
            packet.dts += shift
            last = packet.dts
            for part in plain(packet):
                part.stream = into
                yield part

    def _encoded(self, track: Any, into: Any, rate: int) -> Iterator[Any]:
        av = import_av()
        resampler = av.AudioResampler(format="fltp", layout="stereo" if track.channels > 1 else "mono", rate=rate)
        end_s = 0.0
        for packet, shift_s in self._in_step(track):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:  # the damaged part becomes a moment of silence
                continue
            for frame in frames:
                start_s = end_s if frame.pts is None else float(frame.pts * frame.time_base) + shift_s
                start_s = start_s if start_s > end_s + SOUND_GAP_S else end_s
                end_s = start_s + frame.samples / frame.sample_rate
                frame.pts, frame.time_base = round(start_s * frame.sample_rate), Fraction(1, frame.sample_rate)
                for part in resampler.resample(frame):
                    yield from into.encode(part)
        for part in resampler.resample(None):
            yield from into.encode(part)
        yield from into.encode(None)

    def _in_step(self, track: Any) -> Iterator[tuple[Any, float]]:
        """Yield the packets of the sound, each with its time shift in seconds. The shift is the same as for the frames.

        If the file's clock restarts, the frames decide how the time continues; see :class:`mien.media.clock.Clock`.
        """
        av = import_av()
        pictures = next((s for s in self._input.streams.video if not s.disposition & av.stream.Disposition.attached_pic), None)
        picture_step_s = 1 / float((pictures.average_rate if pictures else None) or 25)
        shifts_s = [-(self._input.start_time or 0) / 1e6]  # from the clock of the frames, one shift per restart
        max_gap_s = MAX_GAP_S if self._input.format.flags & RESTARTS else math.inf
        sound, picture = _Starts(max_gap_s), _Starts(max_gap_s)
        picture_end_s = sound_end_s = 0.0
        held: deque[tuple[int, Any]] = deque()
        for packet in self._input.demux([stream for stream in (pictures, track) if stream is not None]):
            if not packet.size:
                continue
            time_s = None if packet.dts is None else float(packet.dts * packet.time_base)
            lasts_s = float(packet.duration * packet.time_base) if packet.duration else picture_step_s
            if packet.stream_index != track.index:
                shown_s = time_s if packet.pts is None else float(packet.pts * packet.time_base)
                if picture.count(time_s) >= len(shifts_s) and shown_s is not None:
                    shifts_s.append(picture_end_s - shown_s)
                if shown_s is not None:
                    picture_end_s = max(picture_end_s, shown_s + shifts_s[-1] + lasts_s)
            else:
                held.append((sound.count(time_s), packet))
            while held and (held[0][0] < len(shifts_s) or len(held) > MAX_HELD):
                number, first = held.popleft()
                if number >= len(shifts_s):  # the sound restarts alone
                    shifts_s.append(sound_end_s - float((first.dts or 0) * first.time_base))
                if first.dts is not None:
                    sound_end_s = float((first.dts + (first.duration or 0)) * first.time_base) + shifts_s[number]
                yield first, shifts_s[number]
        for number, packet in held:
            if number >= len(shifts_s):
                shifts_s.append(sound_end_s - float((packet.dts or 0) * packet.time_base))
            yield packet, shifts_s[number]


def _as_mp4(context: Any, track: Any) -> Callable[[Any], Iterable[Any]]:
    """Return a function that removes the headers of broadcast AAC packets, because MP4 does not allow them."""
    if context.codec.canonical_name != "aac" or context.extradata:
        return lambda packet: [packet]
    from av.bitstream import BitStreamFilterContext

    return BitStreamFilterContext("aac_adtstoasc", track).filter


class _Starts:
    """Counts how often the clock of a track has restarted."""

    def __init__(self, max_gap_s: float) -> None:
        self._max_gap_s = max_gap_s
        self._last_s: float | None = None
        self._count = 0

    def count(self, time_s: float | None) -> int:
        """Return the number of restarts before the packet with decoding time ``time_s``."""
        if time_s is not None:
            if self._last_s is not None and not -MAX_JITTER_S <= time_s - self._last_s <= self._max_gap_s:
                self._count += 1
            self._last_s = time_s
        return self._count


def _fragments(path: Path) -> tuple[int, bool]:
    """Return the number of bytes up to the end of the last complete fragment of an MP4, and whether the file's end was written.

    ISO/IEC 14496-12: a fragment is a box ``moof`` followed by ``mdat`` (8.8), and the file ends with a box ``mfra`` (8.8.9).
    """
    size, at, whole, kind = path.stat().st_size, 0, 0, b""
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4]), head[4:8]
            length = int.from_bytes(head[8:]) if length == 1 else length
            if length < 8 or at + length > size:
                return whole, False
            at += length
            whole = at if kind == b"mdat" else whole
    return whole, at == size and kind == b"mfra"
