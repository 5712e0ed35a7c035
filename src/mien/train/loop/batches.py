"""Makes augmented training batches. A thread prepares the next batch during each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.prefetch import prefetch
from mien.train.data.dataset import Dataset, ferplus_targets, label_targets
from mien.train.loop.augment import augment, mix
from mien.train.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """``chips`` is float32 (B, H, W, C) in 0..255. ``targets`` and ``weights`` hold one array per head, (B, classes) and (B,)."""

    chips: NDArray[np.float32]
    targets: dict[str, NDArray[np.float32]]
    weights: dict[str, NDArray[np.float32]]


class TrainingBatches:
    """The batches of every epoch, for a data set and a recipe. The same seed, epoch and step give the same batch.

    Per head, ``targets`` (rows, classes) are the target distributions of the training images, and ``weights`` (rows,) are their weights.
    """

    def __init__(self, data: Dataset, rows: NDArray[np.int64], recipe: Recipe, soft: NDArray[np.float32] | None = None) -> None:
        """Prepare the targets.

        Args:
            data: the images.
            rows: the images to train on.
            recipe: targets, augmentation and seed.
            soft: teacher probabilities (len(data), classes) that replace the labels, for distillation.

        Raises:
            DataError: the soft labels have another shape, or the recipe needs FER+ votes and there are none.
        """
        self._data, self._rows, self._recipe = data, rows, recipe
        classes = len(data.label_names)
        loss = recipe.loss
        if soft is not None and soft.shape != (len(data), classes):
            raise DataError(f"soft labels have shape {soft.shape}; expected {(len(data), classes)}, one row per image of the data set")
        if data.votes is None and recipe.learns_votes:
            raise DataError(
                "the recipe learns from FER+ votes; give them (--votes FILE), or set loss.votes_weight=0 and loss.targets=labels"
            )
        weights = np.ones(len(rows), np.float32)
        if soft is not None:
            targets = soft[rows]
        elif loss.targets == "votes":
            targets, weights = label_targets(data.votes[rows], data.label_names)  # type: ignore[index]
        else:
            targets = np.eye(classes, dtype=np.float32)[data.labels[rows]]
            targets = targets * (1 - loss.label_smoothing) + loss.label_smoothing / classes
        if loss.class_weights:
            counts = np.bincount(data.labels[rows], minlength=classes)
            weights *= (len(rows) / (classes * np.maximum(counts, 1)))[data.labels[rows]]
        self.targets, self.weights = {"emotion": targets.astype(np.float32)}, {"emotion": weights.astype(np.float32)}
        if loss.votes_weight:
            self.targets["votes"], self.weights["votes"] = ferplus_targets(data.votes[rows])  # type: ignore[index]

    @property
    def steps(self) -> int:
        """Batches per epoch. The last batch is left out if it is incomplete."""
        return max(1, len(self._rows) // self._recipe.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch (counted from 0). A thread prepares them ahead; it ends with the iterator."""
        order = np.random.default_rng([self._recipe.seed, number]).permutation(len(self._rows))
        size = self._recipe.batch_size
        return prefetch(self._make(number, step, order[step * size : (step + 1) * size]) for step in range(self.steps))

    def _make(self, epoch: int, step: int, picked: NDArray[np.int64]) -> Batch:
        recipe = self._recipe
        rng = np.random.default_rng([recipe.seed, epoch, step])
        mild = epoch >= recipe.epochs * (1 - recipe.augment.mild_last)
        strength, crop = (0.5, 0) if mild else (1.0, recipe.augment.crop)
        raw = np.stack([self._data.images[i] for i in self._rows[picked]])
        chips = to_input(augment(preprocess(raw, recipe.preprocess), recipe.augment, rng, strength, crop))
        names = list(self.targets)
        chips, mixed = mix(chips, [self.targets[name][picked] for name in names], recipe.augment, rng)
        return Batch(chips, dict(zip(names, mixed, strict=True)), {name: self.weights[name][picked] for name in names})


def preprocess(images: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """Return images (N, H, W[, 3]) after histogram equalisation (``equalize`` or ``clahe``), or unchanged for ``none``."""
    if kind == "none":
        return images
    change = cv2.equalizeHist if kind == "equalize" else cv2.createCLAHE(2.0, (4, 4)).apply
    if images.ndim == 3:
        return np.stack([change(image) for image in images]).astype(np.uint8)
    return np.stack([np.stack([change(np.ascontiguousarray(image[..., c])) for c in range(3)], -1) for image in images]).astype(np.uint8)


def to_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return model input, float32 (N, H, W, C) in 0..255."""
    return (images[..., None] if images.ndim == 3 else images).astype(np.float32)
