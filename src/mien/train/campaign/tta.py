"""Test-time augmentation: the mean answer over several views of the same chip."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
CROP = 40 / 48  # side of a crop as a share of the chip's, as in Khaireddin & Chen 2021, arXiv:2105.03588


def averaged(predict: Predict, chips: NDArray[np.uint8], views: str) -> NDArray[np.float64]:
    """Return the mean of ``predict`` over the views of each chip.

    Args:
        predict: chips -> probabilities (N, C).
        chips: uint8 (N, side, side) or (N, side, side, 3).
        views: ``none``, ``flip`` (the chip and its mirror image) or ``ten-crop`` (four corners and the centre, each mirrored too, enlarged
            to the chip's side).

    Raises:
        UsageError: an unknown kind of views.
    """
    makers = {"none": _plain, "flip": _flip, "ten-crop": _ten_crop}
    if views not in makers:
        raise UsageError(f"unknown views {views!r}; expected one of {', '.join(makers)}")
    answers = [np.asarray(predict(view), np.float64) for view in makers[views](chips)]
    return np.asarray(np.mean(answers, axis=0))


def _plain(chips: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    yield chips


def _flip(chips: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    yield chips
    yield np.ascontiguousarray(chips[:, :, ::-1])


def _ten_crop(chips: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    side = chips.shape[1]
    crop = round(side * CROP)
    far, middle = side - crop, (side - crop) // 2
    for y, x in ((0, 0), (0, far), (far, 0), (far, far), (middle, middle)):
        yield from _flip(np.stack([cv2.resize(chip[y : y + crop, x : x + crop], (side, side)) for chip in chips]))
