"""Computes the probabilities of images with models that were not trained on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mien.classify import softmax
from mien.errors import UsageError
from mien.train.data.dataset import Dataset
from mien.train.loop.batches import preprocess, to_input
from mien.train.loop.fit import fit
from mien.train.models import build_model
from mien.train.models.predict import predict
from mien.train.recipe import Recipe

EpochReport = Callable[[int, dict[str, Any]], None]


def labels_only(recipe: str, epochs: int) -> Recipe:
    """Return a recipe, shortened to ``epochs``, that learns only from the labels.

    The FER+ votes are left out, because they are a second opinion on the labels that are in doubt.
    """
    return Recipe.load(recipe, **{"epochs": epochs, "loss.votes_weight": 0, "loss.targets": "labels", "classic_files": False})


def out_of_fold(data: Dataset, recipe: Recipe, folds: int, runs: Path, on_epoch: EpochReport | None = None) -> NDArray[np.float64]:
    """Return the probabilities (N, labels) of every image of ``data``, from models that were not trained on that image.

    The training images are divided into ``folds`` parts with the same shares of labels. The probabilities of each part come from a model
    that is trained on the other parts, with its weights at the end of the recipe; the part does not choose the epoch. All other images
    get the mean of the models.

    Args:
        data: the data set.
        recipe: how each model is trained.
        folds: number of models, 2 or more.
        runs: folder of the runs; finished runs are not trained again.
        on_epoch: called after each epoch with the number of the model (from 0) and the history row.

    Raises:
        UsageError: see :func:`deal`.
    """
    part = deal(data, folds, recipe.seed)
    out = np.zeros((len(data), len(data.label_names)))
    for fold in range(folds):
        splits = np.where(part == fold, "val", np.where(part >= 0, "train", "excluded"))
        report = partial(on_epoch, fold) if on_epoch else None
        state = fit(recipe, replace(data, splits=splits), runs / f"fold-{fold + 1}", validation="val", resume=True, on_epoch=report)
        model = build_model(recipe, len(data.label_names))
        model.set_weights(state.average)
        judged = np.flatnonzero((part == fold) | (part < 0))
        p = _probabilities(model, np.asarray(data.images[judged]), recipe)
        out[judged] += np.where(part[judged, None] == fold, p, p / folds)
    return out


def deal(data: Dataset, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the part of each image (N,): 0 to folds - 1 for training images, with the same shares of labels; -1 for all others.

    Raises:
        UsageError: ``folds`` is below 2 or above the number of training images of the rarest label.
    """
    train = data.rows("train")
    rarest = int(np.bincount(data.labels[train], minlength=len(data.label_names)).min())
    if not 2 <= folds <= rarest:
        raise UsageError(f"folds must be from 2 to {rarest}, the number of training images of the rarest label; got {folds}")
    order = np.random.default_rng(seed).permutation(train)
    order = order[np.argsort(data.labels[order], kind="stable")]
    part = np.full(len(data), -1)
    part[order] = np.arange(len(order)) % folds
    return part


def _probabilities(model: keras.Model, chips: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.float64]:
    inputs = to_input(preprocess(chips, recipe.preprocess))
    return softmax(predict(model, inputs, "emotion"))
