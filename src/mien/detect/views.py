"""A frame, or a part of it -> the resized copy for the detector."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mien.arrays import Frame

GAP = 2.0  # Pillow's reducing_gap: average whole pixels down to this multiple of the wanted size, then interpolate
STRIP_PIXELS = 2**22  # pixels of the frame that Pillow averages in one step


def resized(frame_rgb: Frame, size_wh: tuple[int, int]) -> Frame:
    """Return a resized copy, uint8 (h, w, 3), or the frame itself if it already has this size.

    The pixels are those of ``Image.resize(size_wh, ..., reducing_gap=2.0)``: bicubic if the longer side of the copy is larger, and
    bilinear if it is smaller. A large frame is averaged strip by strip, because Pillow would copy all of it first.
    """
    height, width = frame_rgb.shape[:2]
    if size_wh == (width, height):
        return frame_rgb
    larger = max(size_wh) > max(width, height)
    how = Image.Resampling.BICUBIC if larger else Image.Resampling.BILINEAR
    step_x, step_y = (int(whole / wanted / GAP) or 1 for whole, wanted in zip((width, height), size_wh, strict=True))
    if step_x == step_y == 1:
        return np.asarray(Image.fromarray(frame_rgb).resize(size_wh, how), np.uint8)
    rows = max(1, STRIP_PIXELS // width // step_y) * step_y
    strips = [np.asarray(Image.fromarray(frame_rgb[top : top + rows]).reduce((step_x, step_y))) for top in range(0, height, rows)]
    small = Image.fromarray(np.concatenate(strips))
    return np.asarray(small.resize(size_wh, how, box=(0, 0, width / step_x, height / step_y)), np.uint8)
