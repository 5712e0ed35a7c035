from __future__ import annotations

import numpy as np
import pytest

from mien.errors import UsageError
from mien.train.campaign.tta import averaged


def left_and_right(chips: np.ndarray) -> np.ndarray:
    """Return the share of brightness in each half."""
    halves = np.stack([chips[:, :, :24].sum((1, 2)), chips[:, :, 24:].sum((1, 2))], 1).astype(float)
    return halves / halves.sum(1, keepdims=True)


@pytest.fixture
def chips() -> np.ndarray:
    out = np.full((3, 48, 48), 10, np.uint8)
    out[:, :, :12] = 200
    return out


@pytest.mark.parametrize(
    ("views", "calls", "even"),
    [
        pytest.param("none", 1, False, id="none"),
        pytest.param("flip", 2, True, id="flip"),
        pytest.param("ten-crop", 10, True, id="ten-crop"),
    ],
)
def test_views_are_averaged(views: str, calls: int, even: bool, chips: np.ndarray) -> None:
    shapes = []

    def predict(view: np.ndarray) -> np.ndarray:
        shapes.append(view.shape)
        return left_and_right(view)

    answer = averaged(predict, chips, views)
    assert shapes == [chips.shape] * calls
    assert np.allclose(answer.sum(1), 1)
    assert np.allclose(answer, 0.5) is even


def test_colour_chips_are_cropped_too() -> None:
    assert averaged(lambda view: view.mean((1, 2)), np.full((2, 48, 48, 3), 7, np.uint8), "ten-crop").tolist() == [[7.0] * 3] * 2


def test_unknown_views(chips: np.ndarray) -> None:
    with pytest.raises(UsageError, match="ten-crop"):
        averaged(left_and_right, chips, "twenty")
