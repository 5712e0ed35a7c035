"""Frame and five landmarks -> a chip, aligned in the same way as the training images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from mien.contract import InputSpec
from mien.geometry import invert, similarity, transform


def chip(frame_rgb: NDArray[np.uint8], landmarks: ArrayLike, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the face, upright and aligned with the template, uint8 (S, S) grey or (S, S, 3) RGB.

    First the part of the frame under the chip is cut out; outside the frame, its border pixels are repeated. Then whole pixels are averaged
    until the scale is less than twice that of the chip. Last, the part is rotated with bilinear interpolation.

    Args:
        frame_rgb: uint8 (H, W, 3).
        landmarks: five points (5, 2) in pixels of the frame.
        spec: chip size, channels and template.

    Raises:
        ValueError: the landmarks coincide or are not finite.
    """
    side = spec.chip_size
    to_frame = invert(similarity(landmarks, spec.template))
    scale = math.hypot(to_frame[0, 0], to_frame[1, 0])  # frame pixels per chip pixel
    corners = transform(to_frame, [(0, 0), (side, 0), (0, side), (side, side)])
    margin = 2 + 2 * scale
    x0, y0 = (int(v) for v in np.floor(corners.min(0) - margin))
    x1, y1 = (int(v) for v in np.ceil(corners.max(0) + margin))
    patch = Image.fromarray(_cut(frame_rgb, x0, y0, x1, y1))
    if spec.channels == 1:
        patch = patch.convert("L")
    step = max(1, int(scale))
    if step > 1:
        patch = patch.reduce(step)
    to_frame[:, 2] -= (x0, y0)
    matrix = (to_frame / step).ravel().tolist()
    return np.asarray(patch.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR), np.uint8)


def _cut(frame: NDArray[np.uint8], x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
    """Return frame[y0:y1, x0:x1] where pixels outside the frame repeat its edge."""
    height, width = frame.shape[:2]
    inside = frame[max(0, min(y0, height - 1)) : min(height, max(y1, 1)), max(0, min(x0, width - 1)) : min(width, max(x1, 1))]
    pad_y = (max(0, -y0), max(0, y1 - height))
    pad_x = (max(0, -x0), max(0, x1 - width))
    if not any(pad_y + pad_x):
        return np.ascontiguousarray(inside)
    return np.pad(inside, (pad_y, pad_x, (0, 0)), mode="edge")
