"""Boxes and similarity transforms, in plain numpy.

Boxes are ``(x0, y0, x1, y1)`` in pixels, points are ``(x, y)`` in pixels, x to the right and y down, both of the original frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def iou(boxes_a: ArrayLike, boxes_b: ArrayLike) -> Floats:
    """Return intersection over union, (A, B) in [0, 1]. An empty box has IoU 0 with every box.

    >>> iou([[0, 0, 2, 2]], [[1, 0, 3, 2], [5, 5, 6, 6]]).round(3).tolist()
    [[0.333, 0.0]]
    """
    a = np.asarray(boxes_a, np.float64).reshape(-1, 1, 4)
    b = np.asarray(boxes_b, np.float64).reshape(1, -1, 4)
    inner = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(-1)
    area_a, area_b = (np.clip(x[..., 2:] - x[..., :2], 0, None).prod(-1) for x in (a, b))
    union = area_a + area_b - inner
    return np.asarray(np.divide(inner, union, out=np.zeros_like(union), where=union > 0), np.float64)


def clip_boxes(boxes: ArrayLike, width: int, height: int) -> Floats:
    """Return boxes (N, 4) clipped to the frame.

    >>> clip_boxes([[-3, 2, 50, 90]], width=40, height=30).tolist()
    [[0.0, 2.0, 40.0, 30.0]]
    """
    out = np.array(boxes, np.float64).reshape(-1, 4)
    out[:, 0::2] = out[:, 0::2].clip(0, width)
    out[:, 1::2] = out[:, 1::2].clip(0, height)
    return out


def grown(box: Sequence[float], margin: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Return a box of whole pixels, larger by ``margin`` times its size on every side, and clipped to the frame.

    >>> grown((10, 10, 20, 30), margin=0.1, width=20, height=100)
    (9, 8, 20, 32)
    """
    x, y = margin * (box[2] - box[0]), margin * (box[3] - box[1])
    return (
        max(0, math.floor(box[0] - x)),
        max(0, math.floor(box[1] - y)),
        min(width, math.ceil(box[2] + x)),
        min(height, math.ceil(box[3] + y)),
    )


def similarity(source: ArrayLike, target: ArrayLike) -> Floats:
    """Return the 2x3 matrix of the rotation, uniform scale and shift that best maps points (N, 2) onto points (N, 2).

    Least squares without reflection: Umeyama 1991, doi:10.1109/34.88573, in closed form for two dimensions.

    Raises:
        ValueError: shapes differ, values are not finite, or all source points are the same point.

    >>> similarity([[0, 0], [1, 0]], [[10, 10], [10, 12]]).round(6).tolist()
    [[0.0, -2.0, 10.0], [2.0, 0.0, 10.0]]
    """
    src, dst = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if src.shape != dst.shape or src.ndim != 2 or src.shape[1] != 2 or len(src) < 2:
        raise ValueError(f"expected two equal arrays of at least two points (N, 2), got {src.shape} and {dst.shape}")
    if not (np.isfinite(src).all() and np.isfinite(dst).all()):
        raise ValueError("points must be finite")
    src_mean, dst_mean = src.mean(0), dst.mean(0)
    s, d = src - src_mean, dst - dst_mean
    spread = float((s**2).sum())
    if spread <= 1e-12 * max(1.0, float((src**2).max())):
        raise ValueError("the source points coincide")
    cosine = float((s * d).sum()) / spread
    sine = float((s[:, 0] * d[:, 1] - s[:, 1] * d[:, 0]).sum()) / spread
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([turn, dst_mean - turn @ src_mean])


def invert(matrix: ArrayLike) -> Floats:
    """Return the inverse of a 2x3 affine ``matrix``, as a 2x3 matrix.

    >>> invert([[2, 0, 6], [0, 2, 8]]).tolist()
    [[0.5, 0.0, -3.0], [0.0, 0.5, -4.0]]
    """
    m = np.asarray(matrix, np.float64)
    turn = np.linalg.inv(m[:, :2])
    return np.column_stack([turn, -turn @ m[:, 2] + 0.0])


def transform(matrix: ArrayLike, points: ArrayLike) -> Floats:
    """Return points (N, 2), transformed by a 2x3 affine ``matrix``.

    >>> transform([[1, 0, 5], [0, 1, -1]], [[0, 0], [2, 3]]).tolist()
    [[5.0, -1.0], [7.0, 2.0]]
    """
    m = np.asarray(matrix, np.float64)
    return np.asarray(points, np.float64) @ m[:, :2].T + m[:, 2]
