"""How fast is video, and does its memory stay constant? ``python -m benchmarks.video``.

The bundled portrait moves through clips of 640x480 (one face) and 1280x720 (four faces). They are read, searched and classified; in a
second row, they are also drawn and encoded. A small clip is streamed repeatedly to measure the memory over time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.timing import machine, markdown, memory_mb
from mien.assets import demo_photo
from mien.draw import annotate
from mien.face_tracker import DETECT_EVERY
from mien.media.video import VideoFrame, open_video
from mien.media.video_writer import VideoWriter
from mien.pipeline import Pipeline
from mien.timeline import Timeline

FPS = 30
MEMORY_SIZE = (320, 240)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="a shipped model's name or a bundle folder")
    parser.add_argument("--frames", type=int, default=300, help="frames per clip for the speed")
    parser.add_argument("--memory-frames", type=int, default=20_000, help="0 leaves this part out")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()

    pipeline = Pipeline(model=options.model, threads=1)  # every step has its own thread
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, size, faces in (("640x480, one face", (640, 480), 1), ("1280x720, four faces", (1280, 720), 4)):
            clip = make_clip(Path(folder) / "clip.mp4", size, faces, options.frames)
            for every, how in ((1, "whole frame every time"), (DETECT_EVERY, f"newcomers every {DETECT_EVERY} frames")):
                figures[f"{name}, {how}, frames/s"], figures[f"{name}, {how}, ms of CPU a frame"] = speed(pipeline, clip, every)
            figures[f"{name}, drawn and encoded too, frames/s"], _ = speed(pipeline, clip, DETECT_EVERY, Path(folder) / "out.mp4")
        if options.memory_frames:
            clip = make_clip(Path(folder) / "clip.mp4", MEMORY_SIZE, 1, options.frames)
            figures[f"memory growth over {options.memory_frames:,} frames, MB"] = memory_growth_mb(pipeline, clip, options.memory_frames)
    print(machine(("numpy", "onnxruntime", "av")))
    print()
    print(markdown(("what", "figure"), [(name, f"{value:.1f}") for name, value in figures.items()]))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps({"machine": machine(("numpy", "onnxruntime", "av")), "figures": figures}, indent=1) + "\n", encoding="utf-8"
        )


def make_clip(path: Path, size_wh: tuple[int, int], faces: int, frames: int) -> Path:
    """Write a clip in which ``faces`` portraits sway side by side, and return its path."""
    width, height = size_wh
    side = min(height * 2 // 3, width // faces)
    with Image.open(demo_photo()) as photo:
        portrait = np.asarray(photo.crop((100, 0, 356, 256)).resize((side, side), Image.Resampling.LANCZOS))
    with VideoWriter(path, rate=FPS) as writer:
        for index in range(frames):
            writer.write(index / FPS, _swaying(portrait, size_wh, faces, index / FPS))
    return path


def _swaying(portrait: NDArray[np.uint8], size_wh: tuple[int, int], faces: int, time_s: float) -> NDArray[np.uint8]:
    width, height = size_wh
    side, lane = len(portrait), width // faces
    frame = np.full((height, width, 3), 96, np.uint8)
    for number in range(faces):
        x = number * lane + round((lane - side) / 2 * (1 + np.sin(time_s + number)))
        y = round((height - side) / 2 * (1 + np.sin(1.3 * time_s + number)))
        frame[y : y + side, x : x + side] = portrait
    return frame


def speed(pipeline: Pipeline, clip: Path, detect_every: int, annotated: Path | None = None) -> tuple[float, float]:
    """Return frames per second from the file to the results (or to a drawn and encoded copy), and milliseconds of CPU time per frame."""
    began, began_cpu = time.perf_counter(), time.process_time()
    count = 0
    with open_video(clip) as video:
        stream = pipeline.stream_with_frames(video.frames(), source=video.name, detect_every=detect_every)
        if annotated is None:
            count = sum(1 for _ in stream)
        else:
            story = Timeline(pipeline.labels)
            with VideoWriter(annotated, rate=FPS) as writer:
                for result, frame in stream:
                    count += 1
                    story.add(result)
                    writer.write(result.time_s or 0.0, story.draw_graphs(annotate(frame, result), result))
    return count / (time.perf_counter() - began), 1000 * (time.process_time() - began_cpu) / count


def memory_growth_mb(pipeline: Pipeline, clip: Path, frames: int) -> float:
    """Return the peak memory in the last tenth of a stream minus that in its second tenth."""
    held = np.zeros(frames)
    story = Timeline(pipeline.labels)
    for index, result in enumerate(pipeline.stream(_again_and_again(clip, frames))):
        story.add(result)
        held[index] = memory_mb("VmRSS")
    tenth = frames // 10
    return float(held[-tenth:].max() - held[tenth : 2 * tenth].max())


def _again_and_again(clip: Path, frames: int) -> Iterator[VideoFrame]:
    count = 0
    while True:
        with open_video(clip) as video:
            for frame in video.frames():
                if count == frames:
                    return
                yield VideoFrame(count, count / FPS, frame.frame_rgb)
                count += 1


if __name__ == "__main__":
    main()
