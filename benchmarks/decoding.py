"""How much memory does reading a picture take? ``python -m benchmarks.decoding`` writes a table and a JSON file.

It reads one picture of each kind with 40 megapixels, which is the default limit of the service, and a video with frames of that size. Every
figure is the peak memory of a new process, minus its memory before, in bytes per pixel. For a video, the process also searches for faces.
Only Linux reports such peaks.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from benchmarks.timing import machine, markdown, memory_mb
from mien.media.images import ReadLimits, read_photo
from mien.media.video import Video
from mien.media.video_writer import VideoWriter
from mien.pipeline import Pipeline
from mien.serve.setting_texts import SETTINGS

RESULT = Path(__file__).parent / "results" / "decoding.json"
SMALL, LARGE = (160, 120), (7302, 5476)  # width and height, px
CORES = 4  # for the worst case of the service
VIDEO_FRAMES, VIDEO_RATE = 16, 25
VIDEOS = {"H.264 video": False, "H.264 video, with `annotated=true`": True}


@dataclass(frozen=True)
class Kind:
    """How to make one kind of picture: Pillow's format name, the options for saving, and a conversion of the RGB picture before that."""

    format: str
    options: dict[str, Any] = field(default_factory=dict)
    change: Callable[[Image.Image], Image.Image] = Image.Image.copy
    needs: str | None = None  # Pillow's name of a feature that some builds lack


def with_alpha(picture: Image.Image) -> Image.Image:
    """Return an RGB picture that is half transparent."""
    picture = picture.copy()
    picture.putalpha(128)
    return picture


KINDS = {
    "JPEG": Kind("JPEG"),
    "progressive JPEG": Kind("JPEG", {"progressive": True, "subsampling": 0}),
    "progressive JPEG in CMYK": Kind("JPEG", {"progressive": True, "subsampling": 0}, lambda picture: picture.convert("CMYK")),
    "PNG": Kind("PNG", {"compress_level": 1}),
    "GIF": Kind("GIF", change=lambda picture: picture.quantize(64)),
    "TIFF": Kind("TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF of floats": Kind("TIFF", {"compression": "tiff_adobe_deflate"}, lambda picture: picture.convert("F")),
    "HEIF": Kind("HEIF", {"quality": 50}, with_alpha),
    "AVIF": Kind("AVIF", {"speed": 10, "subsampling": "4:4:4"}, with_alpha, "avif"),
    "WebP": Kind("WEBP", {"method": 0}, needs="webp"),
    "lossless WebP": Kind("WEBP", {"method": 0, "quality": 0, "lossless": True}, needs="webp"),
    "JPEG 2000": Kind("JPEG2000", {"quality_mode": "rates", "quality_layers": [60]}, with_alpha, "jpg_2000"),
}


def write(kind: Kind, path: Path, size: tuple[int, int]) -> Path:
    """Write noise of ``size`` (width, height) px. If it is larger than :data:`SMALL`, patches keep the file small in every format."""
    with Image.effect_noise(SMALL, 64) as grey:
        noise = Image.merge("RGB", (grey, grey.rotate(90).resize(SMALL), grey.rotate(180)))
    if kind.format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    kind.change(noise.resize(size, Image.Resampling.NEAREST)).save(path, format=kind.format, **kind.options)
    return path


def picture_peak(name: str, folder: Path, size: tuple[int, int] = LARGE) -> float:
    """Return the peak memory of reading a picture of the kind ``name``, in bytes per pixel. The files go to ``folder``."""
    small, large = (write(KINDS[name], folder / part, wh) for part, wh in (("small", SMALL), ("large", size)))
    return _in_child("picture", small, large) / math.prod(size)


def video_peak(path: Path, *, annotated: bool) -> float:
    """Return the peak memory, in bytes per pixel, of reading and searching a clip of :func:`write_video`.

    With ``annotated``, the process also writes the clip with its faces drawn.
    """
    return _in_child("annotated" if annotated else "video", path) / math.prod(LARGE)


def write_video(path: Path) -> Path:
    """Write a short moving clip of 40 megapixels."""
    patches = np.random.default_rng(0).integers(0, 255, (LARGE[1] // 64 + 1, LARGE[0] // 64 + 1, 3), np.uint8)
    frame = patches.repeat(64, 0).repeat(64, 1)[: LARGE[1], : LARGE[0]]
    with VideoWriter(path, rate=VIDEO_RATE) as writer:
        for index in range(VIDEO_FRAMES):
            writer.write(index / VIDEO_RATE, np.ascontiguousarray(np.roll(frame, 8 * index, 1)))
    return path


def tells_peaks() -> bool:
    """Return whether the system reports the peak memory of a process since a chosen moment."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def _in_child(what: str, *paths: Path) -> float:
    """Return the peak memory, in bytes, of a new process that runs :func:`_child`."""
    command = [sys.executable, "-m", "benchmarks.decoding", "--child", what, *map(str, paths)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _child(what: str, paths: list[Path]) -> None:
    """Read, and print the peak memory minus the memory before, in bytes."""
    limits = ReadLimits(max_pixels=math.prod(LARGE))
    if what == "picture":
        small, large = (path.read_bytes() for path in paths)
        read_photo(small)  # loads the decoder
        work: Callable[[], object] = partial(read_photo, large, limits=limits)
    else:
        pipeline = Pipeline(threads=1)
        pipeline.analyze(np.zeros((480, 640, 3), np.uint8))
        work = partial(_watch, pipeline, paths[0], limits, what == "annotated")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
    before = memory_mb("VmRSS")
    held = work()
    print((memory_mb() - before) * 1e6)
    del held


def _watch(pipeline: Pipeline, path: Path, limits: ReadLimits, annotated: bool) -> None:
    with Video(path, limits=limits, untrusted=True) as video:
        results = pipeline.stream_with_frames(video.frames(), source=path.name)
        if not annotated:
            for _ in results:
                pass
            return
        with VideoWriter(path.with_name("annotated.mp4"), rate=VIDEO_RATE) as writer:
            for result, frame in results:
                writer.write(result.time_s or 0, frame)


def measured() -> Iterator[tuple[str, float]]:
    """Yield each kind of picture that this Pillow reads, then each kind of video, with its bytes per pixel."""
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in KINDS.items():
            if kind.needs is None or features.check(kind.needs):
                yield name, picture_peak(name, Path(folder))
        clip = write_video(Path(folder) / "clip.mp4")
        for name, annotated in VIDEOS.items():
            yield name, video_peak(clip, annotated=annotated)


def table(result: dict[str, Any]) -> str:
    """Return the peaks, rounded up, and their total when every caller of a service causes the worst case."""
    figures = {name: math.ceil(value) for name, value in result["figures"].items()}
    streams, video_workers, pixels = (int(SETTINGS[name].default) for name in ("max_streams", "video_workers", "max_pixels"))
    picture, video = (max(value for name, value in figures.items() if (name in VIDEOS) is moving) for moving in (False, True))
    total = ((CORES + streams) * picture + video_workers * video) * pixels / 1e9
    return (
        f"{markdown(('what is read', 'bytes a pixel'), figures.items())}\n\n{result['machine']}.\n\n"
        f"On {CORES} cores the default limits so allow ({CORES} + {streams}) x {picture} + {video_workers} x {video} bytes for each of "
        f"{pixels / 1e6:.0f} million pixels, {total:.0f} GB, where every caller does the worst."
    )


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=RESULT, help="write the figures here")
    options = parser.parse_args()
    if options.child:
        _child(options.child[0], [Path(path) for path in options.child[1:]])
        return
    if not tells_peaks():
        parser.error("this system does not tell the peak of a process's memory; Linux does")
    figures = {}
    for name, value in measured():
        figures[name] = round(value, 2)
        print(f"{name}: {value:.2f}", flush=True)
    result = {"machine": machine(("numpy", "pillow", "av")), "figures": figures}
    print(f"\n{table(result)}")
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
