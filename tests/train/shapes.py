"""A data set that a tiny network learns in seconds: seven shapes, drawn with a little noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mien.contract import LABELS
from mien.train.data.dataset import Dataset
from mien.train.loop.fit import fit
from mien.train.recipe import Recipe

SIDE = 24


def draw(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return one picture, uint8 (SIDE, SIDE)."""
    image = rng.integers(40, 80, (SIDE, SIDE)).astype(np.uint8)
    x, y = (int(v) for v in rng.integers(9, 15, 2))
    drawings = [
        lambda: cv2.circle(image, (x, y), 7, 220, -1),
        lambda: cv2.circle(image, (x, y), 7, 220, 1),
        lambda: cv2.rectangle(image, (x - 6, y - 6), (x + 6, y + 6), 220, -1),
        lambda: cv2.line(image, (x - 8, y), (x + 8, y), 220, 2),
        lambda: cv2.line(image, (x, y - 8), (x, y + 8), 220, 2),
        lambda: cv2.line(image, (x - 7, y - 7), (x + 7, y + 7), 220, 2),
        lambda: image,
    ]
    drawings[label]()
    return image


def write_shapes(root: Path, *, train: int = 24, public: int = 6, private: int = 4, seed: int = 0) -> Path:
    """Write that many pictures a label in Kaggle's layout of FER2013 and return the folder."""
    rng = np.random.default_rng(seed)
    for count, folder, prefix in ((train, "train", "Training"), (public, "test", "PublicTest"), (private, "test", "PrivateTest")):
        for index, label in enumerate(LABELS):
            target = root / folder / label
            target.mkdir(parents=True, exist_ok=True)
            for n in range(count):
                cv2.imwrite(str(target / f"{prefix}_{n}.png"), draw(index, rng))
    return root


def tiny_recipe(**changes: Any) -> Recipe:
    """Return a recipe that learns the shapes in a few small epochs; dotted keys change it."""
    values: dict[str, Any] = {
        "name": "tiny",
        "size": SIDE,
        "epochs": 2,
        "batch_size": 28,
        "ema": 0.5,
        "model": {"family": "compact", "options": {"stem": 4, "widths": [4, 8], "depths": [1, 1], "dropout": 0.1}},
        "augment": {"rotate_deg": 5, "flip_p": 0},
        "optimizer": {"learning_rate": 0.05, "warmup_epochs": 0},
    }
    for dotted, value in changes.items():
        *parents, key = dotted.split(".")
        table = values
        for parent in parents:
            table = table.setdefault(parent, {})
        table[key] = value
    return Recipe.from_dict(values)


class _Stop(Exception):  # noqa: N818  (no error)
    pass


def fit_and_stop(recipe: Recipe, data: Dataset, run: Path) -> None:
    """Train for one more epoch and leave ``run`` as an interruption right after it does."""

    def stop(row: dict[str, Any]) -> None:
        raise _Stop

    with pytest.raises(_Stop):
        fit(recipe, data, run, resume=True, on_epoch=stop)
