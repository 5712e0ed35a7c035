from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.errors import UsageError
from mien.train.data.dataset import Dataset
from mien.train.loop.folds import deal, out_of_fold
from tests.train.shapes import tiny_recipe


def test_training_images_are_dealt_alike_in_labels_and_nothing_else_is(shapes: Dataset) -> None:
    part = deal(shapes, 3, seed=1)
    assert ((part == -1) == (shapes.splits != "train")).all()
    for label in range(7):
        counts = np.bincount(part[(shapes.labels == label) & (part >= 0)], minlength=3)
        assert counts.max() - counts.min() <= 1


def test_every_image_gets_probabilities_and_finished_runs_are_kept(shapes: Dataset, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    p = out_of_fold(shapes, tiny_recipe(epochs=1), 2, tmp_path, on_epoch=lambda fold, row: done.append((fold, row["epoch"])))
    assert done == [(0, 1), (1, 1)]
    assert p.shape == (len(shapes), 7)
    assert np.allclose(p.sum(1), 1)
    again = out_of_fold(shapes, tiny_recipe(epochs=1), 2, tmp_path)  # finished runs are kept
    assert np.allclose(again, p)


@pytest.mark.parametrize("folds", [pytest.param(1, id="nothing held out"), pytest.param(500, id="more than images of a label")])
def test_a_senseless_number_of_folds_is_refused(shapes: Dataset, folds: int) -> None:
    with pytest.raises(UsageError, match="from 2 to 24"):
        deal(shapes, folds, seed=0)
