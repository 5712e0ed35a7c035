from __future__ import annotations

import numpy as np
import pytest

from mien.train.loop.augment import augment, mix
from mien.train.recipe import AugmentTable

OFF = AugmentTable(flip_p=0, rotate_deg=0, scale=0, shift=0, brightness=0, contrast=0, gamma=0, blur_p=0, jpeg_p=0, erase_p=0)


@pytest.fixture
def chips() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (8, 48, 48), dtype=np.uint8)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def with_only(**changes: float) -> AugmentTable:
    return OFF.model_copy(update=changes)


def test_everything_off_changes_nothing(chips: np.ndarray) -> None:
    assert np.array_equal(augment(chips, OFF, rng()), chips)


def test_the_mirror_alone_is_exact(chips: np.ndarray) -> None:
    assert np.array_equal(augment(chips, with_only(flip_p=1), rng()), chips[:, :, ::-1])


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_dtype_stay(channels: int) -> None:
    shape = (4, 48, 48) if channels == 1 else (4, 48, 48, 3)
    out = augment(np.full(shape, 128, np.uint8), AugmentTable(blur_p=1, jpeg_p=1, erase_p=1), rng())
    assert (out.shape, out.dtype) == (shape, np.uint8)


def test_a_crop_is_a_square_somewhere_in_the_chip() -> None:
    across = np.broadcast_to(4 * np.arange(48, dtype=np.uint8), (400, 48, 48))
    out = augment(across, OFF, rng(), crop=40)
    assert out.shape == (400, 40, 40)
    assert (np.abs(np.diff(out.astype(int), axis=2) - 4) <= 1).all(), "nothing is scaled"
    starts = out[:, 0, 0] / 4
    assert 0 <= starts.min() < 0.5
    assert 7.5 < starts.max() <= 8


def test_a_crop_of_the_whole_chip_is_the_chip(chips: np.ndarray) -> None:
    assert np.array_equal(augment(chips, AugmentTable(), rng(), crop=48), augment(chips, AugmentTable(), rng()))


def test_a_box_is_erased_inside_the_crop() -> None:
    out = augment(np.full((50, 48, 48), 128, np.uint8), with_only(erase_p=1), rng(), crop=24)
    areas = (out != 128).sum((1, 2))
    assert (areas > 0).sum() >= 48, "a fill of 128 itself does not show"
    assert areas.max() <= (0.45 * 24 + 1) ** 2


def test_the_input_is_not_written_to(chips: np.ndarray) -> None:
    before = chips.copy()
    augment(chips, AugmentTable(erase_p=1), rng())
    assert np.array_equal(chips, before)


def test_the_same_random_state_gives_the_same_chips(chips: np.ndarray) -> None:
    assert np.array_equal(augment(chips, AugmentTable(), rng()), augment(chips, AugmentTable(), rng()))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("rotate_deg", 20, id="rotation"),
        pytest.param("scale", 0.2, id="scale"),
        pytest.param("shift", 0.2, id="shift"),
        pytest.param("brightness", 0.3, id="brightness"),
        pytest.param("contrast", 0.5, id="contrast"),
        pytest.param("gamma", 0.5, id="gamma"),
        pytest.param("blur_p", 1, id="blur"),
        pytest.param("jpeg_p", 1, id="jpeg"),
        pytest.param("erase_p", 1, id="erasing"),
    ],
)
def test_every_switch_does_something_and_strength_zero_undoes_it(name: str, value: float, chips: np.ndarray) -> None:
    settings = with_only(**{name: value})
    assert not np.array_equal(augment(chips, settings, rng()), chips)
    assert np.array_equal(augment(chips, settings, rng(), strength=0), chips)


def test_brightness_moves_by_at_most_its_share_of_the_range() -> None:
    out = augment(np.full((64, 48, 48), 128, np.uint8), with_only(brightness=0.1), rng())
    assert np.abs(out.astype(int) - 128).max() <= 26


def test_an_erased_box_is_one_grey_level_and_less_than_a_quarter() -> None:
    (out,) = augment(np.zeros((1, 48, 48), np.uint8), with_only(erase_p=1), np.random.default_rng(3))
    levels, counts = np.unique(out, return_counts=True)
    assert len(levels) == 2
    assert counts[1] <= 0.45**2 * 48**2


@pytest.mark.parametrize("kind", ["mixup_alpha", "cutmix_alpha"])
def test_mixing_keeps_the_mean_and_targets_that_sum_to_one(kind: str) -> None:
    chips = np.random.default_rng(0).uniform(0, 255, (6, 48, 48, 1)).astype(np.float32)
    targets = np.eye(6, dtype=np.float32)
    mixed, (shares,) = mix(chips, [targets], with_only(**{kind: 1.0}), rng())
    assert mixed.shape == chips.shape
    assert shares.sum(1) == pytest.approx(np.ones(6))
    assert not np.array_equal(shares, targets)


def test_cutmix_targets_are_the_share_of_pixels() -> None:
    chips = np.repeat(np.arange(6, dtype=np.float32), 48 * 48).reshape(6, 48, 48, 1)
    mixed, (shares,) = mix(chips, [np.eye(6, dtype=np.float32)], with_only(cutmix_alpha=1.0), rng())
    for image, share in zip(mixed, shares, strict=True):
        assert np.bincount(image.astype(int).ravel(), minlength=6) / 48**2 == pytest.approx(share, abs=1e-6)
