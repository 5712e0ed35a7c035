from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.errors import DataError
from mien.train.data.dataset import Dataset
from mien.train.loop.batches import TrainingBatches, preprocess, to_input
from tests.train.shapes import SIDE, tiny_recipe


def batches(data: Dataset, soft: np.ndarray | None = None, **changes: Any) -> TrainingBatches:
    return TrainingBatches(data, data.rows("train"), tiny_recipe(**changes), soft)


def with_votes(data: Dataset) -> Dataset:
    counts = np.zeros((len(data), 10), np.float32)
    counts[:, 1] = 10  # everybody looks happy
    return dataclasses.replace(data, votes=counts)


def test_an_epoch_is_the_same_whenever_it_is_made(shapes: Dataset) -> None:
    first, again = (list(batches(shapes).epoch(3)) for _ in range(2))
    assert all(
        np.array_equal(a.chips, b.chips) and np.array_equal(a.targets["emotion"], b.targets["emotion"])
        for a, b in zip(first, again, strict=True)
    )


@pytest.mark.parametrize("change", [pytest.param({"seed": 1}, id="seed"), pytest.param({}, id="epoch")])
def test_another_seed_or_epoch_is_another_order(change: dict[str, Any], shapes: Dataset) -> None:
    one = next(batches(shapes).epoch(0))
    other = next(batches(shapes, **change).epoch(0 if change else 1))
    assert not np.array_equal(one.chips, other.chips)


def test_an_epoch_shows_every_image_once_and_whole_batches_only(shapes: Dataset) -> None:
    off = {
        f"augment.{name}": 0
        for name in ("flip_p", "rotate_deg", "scale", "shift", "brightness", "contrast", "gamma", "blur_p", "jpeg_p", "erase_p")
    }
    made = list(batches(shapes, **off, batch_size=50).epoch(0))
    assert [batch.chips.shape for batch in made] == [(50, SIDE, SIDE, 1)] * 3  # 168 images; 18 wait for another epoch
    seen = {chip.tobytes() for batch in made for chip in batch.chips.astype(np.uint8)}
    assert len(seen) == 150


def test_crops_until_the_mild_last_part_shows_whole_chips(shapes: Dataset) -> None:
    made = batches(shapes, **{"epochs": 4, "augment.crop": 20, "augment.mild_last": 0.5})
    assert [next(made.epoch(number)).chips.shape[1:] for number in range(4)] == [(20, 20, 1)] * 2 + [(SIDE, SIDE, 1)] * 2


def test_chips_are_grey_levels_in_0_to_255(shapes: Dataset) -> None:
    chips = next(batches(shapes).epoch(0)).chips
    assert chips.dtype == np.float32
    assert 0 <= chips.min() < chips.max() <= 255
    assert chips.max() > 1


def test_label_smoothing_spreads_a_share_evenly(shapes: Dataset) -> None:
    targets = next(batches(shapes, **{"loss.label_smoothing": 0.7}).epoch(0)).targets["emotion"]
    assert sorted(set(np.round(targets.ravel(), 6).tolist())) == pytest.approx([0.1, 0.4])


def test_class_weights_even_out_the_classes(shapes: Dataset) -> None:
    scarce = {name for name in shapes.names if name.startswith("train/happy") and not name.endswith("_0.png")}
    data = shapes.exclude(scarce)
    made = TrainingBatches(data, data.rows("train"), tiny_recipe(**{"loss.class_weights": True, "batch_size": 145}))
    (batch,) = made.epoch(0)
    totals = (batch.targets["emotion"] * batch.weights["emotion"][:, None]).sum(0)
    assert totals == pytest.approx(np.full(7, 145 / 7), rel=1e-5)


def test_soft_labels_replace_the_targets(shapes: Dataset) -> None:
    soft = np.full((len(shapes), 7), 1 / 7, np.float32)
    assert (next(batches(shapes, soft).epoch(0)).targets["emotion"] == soft[0]).all()


def test_soft_labels_of_another_data_set_are_refused(shapes: Dataset) -> None:
    with pytest.raises(DataError, match="one row per image of the data set"):
        batches(shapes, np.zeros((3, 7), np.float32))


def test_votes_make_a_second_head(shapes: Dataset) -> None:
    batch = next(batches(with_votes(shapes), **{"loss.votes_weight": 0.5}).epoch(0))
    assert batch.targets["votes"].shape == (28, 8)
    assert (batch.targets["votes"][:, 1] == 1).all()


def test_votes_can_be_the_only_teacher(shapes: Dataset) -> None:
    batch = next(batches(with_votes(shapes), **{"loss.targets": "votes"}).epoch(0))
    assert (batch.targets["emotion"][:, shapes.label_names.index("happy")] == 1).all()


@pytest.mark.parametrize("change", [{"loss.votes_weight": 0.5}, {"loss.targets": "votes"}])
def test_a_recipe_that_needs_votes_says_so(change: dict[str, Any], shapes: Dataset) -> None:
    with pytest.raises(DataError, match="--votes FILE"):
        batches(shapes, **change)


@pytest.mark.parametrize("kind", ["equalize", "clahe"])
@pytest.mark.parametrize("shape", [(2, SIDE, SIDE), (2, SIDE, SIDE, 3)], ids=["grey", "rgb"])
def test_preprocessing_spreads_grey_levels(kind: str, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(100, 120, shape, dtype=np.uint8)
    out = preprocess(images, kind)
    assert (out.shape, out.dtype) == (shape, np.uint8)
    assert np.ptp(out) > np.ptp(images)
    assert np.array_equal(preprocess(images, "none"), images)


def test_a_loop_that_ends_early_leaves_no_thread(shapes: Dataset) -> None:
    items = batches(shapes).epoch(0)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "mien-prefetch"]


def test_training_makes_the_input_that_the_contract_pins() -> None:
    """The runtime makes it with `mien.contract.model_input`; both are held to the same golden tensor."""
    with np.load(Path(__file__).parents[2] / "golden" / "model_input.npz") as golden:
        made = to_input(golden["chips"])
        assert made.dtype == golden["0..255"].dtype
        assert np.array_equal(made, golden["0..255"])
