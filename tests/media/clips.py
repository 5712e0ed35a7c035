"""Small videos that tests read, made with the encoder that the tests' machine has, and what is seen in them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mien.media.video import VideoFrame, open_video

RATE = 25
LEFT_UP, RIGHT_UP, REST = (220, 40, 40), (40, 200, 60), (60, 70, 200)


def corners(width: int, height: int) -> NDArray[np.uint8]:
    """Return a frame whose upper corners have colours of their own, so that every turn of it differs."""
    frame = np.full((height, width, 3), REST, np.uint8)
    frame[: height // 2, : width // 2], frame[: height // 2, width // 2 :] = LEFT_UP, RIGHT_UP
    return frame


def write_clip(
    path: Path,
    frames: int | Iterable[NDArray[np.uint8]] = 25,
    *,
    size_wh: tuple[int, int] = (96, 64),
    times_s: Iterable[float] | None = None,
    sound: str | None = None,
    sound_rate: int = 48_000,
    start_s: float = 0,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    interlaced: bool = False,
    transfer: int | None = None,
    pixel_ratio: Fraction | None = None,
    time_base: Fraction = Fraction(1, 1000),
    container: str | None = None,
) -> Path:
    """Write a clip of ``frames`` pictures, 25 a second unless ``times_s`` says when they are, and return its path.

    ``start_s`` is when the file says that picture and sound begin, ``transfer`` a curve's number in ITU-T H.273, such as 16 for HDR, and
    ``pixel_ratio`` the width of a pixel by its height. ``time_base`` is the encoder's, in seconds. ``path`` may be an object to write to,
    with the name of the ``container``.
    """
    pictures = [corners(*size_wh)] * frames if isinstance(frames, int) else list(frames)
    times = list(times_s or (i / RATE for i in range(len(pictures))))
    with av.open(str(path) if isinstance(path, Path) else path, "w", format=container) as output:
        video = output.add_stream(codec, rate=RATE)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = time_base
        if transfer:
            video.codec_context.color_trc = transfer
        if pixel_ratio:
            video.codec_context.sample_aspect_ratio = pixel_ratio
        if interlaced:
            video.codec_context.flags |= 1 << 18  # AV_CODEC_FLAG_INTERLACED_DCT
            video.options = {"x264-params": "tff=1"}
        audio = output.add_stream(sound, rate=sound_rate, layout="mono") if sound else None
        if audio and sound and sound.startswith("wma"):
            audio.bit_rate = 64_000  # it has no usual one
        for picture, time_s in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = round((start_s + time_s) / time_base), time_base
            output.mux(video.encode(frame))
        if audio:
            for start in range(0, round(sound_rate * times[-1]), 1024):
                tone = np.round(8000 * np.sin(np.arange(start, start + 1024) / 17)).astype(np.int16)[None]
                samples = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
                samples.sample_rate, samples.time_base = sound_rate, Fraction(1, sound_rate)
                samples.pts = start + round(sound_rate * start_s)
                output.mux(audio.encode(samples))
            output.mux(audio.encode(None))
        output.mux(video.encode(None))
    return path


def turn_mp4(path: Path, degrees: int) -> Path:
    """Write a rotation into the file's track header, clockwise for players, as phones do; return the path."""
    data = bytearray(path.read_bytes())
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(upright, data.index(b"tkhd"))
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def show_as(path: Path, out: Path, degrees: int, *, hflip: bool = False, vflip: bool = False) -> Path:
    """Copy a clip with a display matrix, as ``ffmpeg -display_rotation DEGREES -display_hflip -i path -c copy out`` does; return ``out``.

    ``degrees`` are against the clock; the picture is mirrored after it was turned.
    """
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        track = source.streams.video[0]
        into = target.add_stream_from_template(track)
        into.set_display_rotation(degrees, hflip, vflip)
        for packet in source.demux(track):
            if packet.dts is not None:
                packet.stream = into
                target.mux(packet)
    return out


def damage(path: Path, number: int, count: int = 1) -> Path:
    """Overwrite the ``count`` pictures from ``number`` on, in the order of the file; return the path."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size and packet.pos is not None]
    data = bytearray(path.read_bytes())
    for at, size in places[number : number + count]:
        data[at : at + size] = b"\xa5" * size
    path.write_bytes(data)
    return path


def noise(count: int, size_wh: tuple[int, int] = (96, 64)) -> NDArray[np.uint8]:
    """Return frames that no encoder makes small, (N, H, W, 3)."""
    return np.random.default_rng(0).integers(0, 255, (count, size_wh[1], size_wh[0], 3), dtype=np.uint8)


def read(path: Path | str, every_s: float | None = None) -> list[VideoFrame]:
    """Return the frames of a video."""
    with open_video(path) as clip:
        return list(clip.frames(every_s))


def corner_colours(frame: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Return the colours at the four corners, clockwise from the upper left."""
    height, width = frame.shape[:2]
    return [frame[y, x].astype(float) for y, x in ((4, 4), (4, width - 5), (height - 5, width - 5), (height - 5, 4))]


def close_to(colour: tuple[int, int, int]) -> object:
    """Return what equals a colour as an encoder keeps it."""
    return pytest.approx(np.array(colour, float), abs=14)
