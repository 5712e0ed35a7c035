"""Trains one network on one accelerator. The data set is in the accelerator's memory, and an epoch is one compiled scan over steps.

Recipe, targets, optimiser and checkpoint are those of :mod:`mien.train.loop.fit`. The loop over epochs is separate, because the two loops
have no line in common. In :mod:`~mien.train.loop.fit`, batches come from threads, Keras objects hold the weights under any backend, layers
are frozen and unfrozen, and every epoch updates the run folder. Here, an epoch is one call that consumes the arrays of weights. There is a
deadline, and the weights are read back rarely, because that is slow. The seed determines all random numbers. To repeat a run bit for bit
on a GPU, also set ``XLA_FLAGS=--xla_gpu_deterministic_ops=true``, which makes training slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from mien.errors import DivergedError
from mien.train.campaign.network import Network
from mien.train.data.dataset import Dataset
from mien.train.data.splits import split_rows
from mien.train.loop.batches import TrainingBatches
from mien.train.loop.checkpoint import RunState, load_state, save_state
from mien.train.loop.optimize import should_stop
from mien.train.recipe import Recipe

EpochReport = Callable[[Recipe, dict[str, Any]], None]


def fit_on_device(
    recipe: Recipe,
    data: Dataset,
    checkpoint: Path,
    *,
    deadline: float = float("inf"),
    soft: NDArray[np.float32] | None = None,
    checkpoint_every_s: float = 30.0,
    on_epoch: EpochReport | None = None,
) -> RunState:
    """Train until the recipe or the time ends, and return the state. The length of its history is the number of finished epochs.

    Args:
        recipe: what to train and how.
        data: images with the splits ``train`` and ``public``; ``public`` chooses the epoch.
        checkpoint: file of the state; if it exists, training continues from it.
        deadline: value of ``time.monotonic()`` at which to return; an epoch that would end later is not started.
        soft: teacher probabilities (len(data), classes); only those of training images are used.
        checkpoint_every_s: seconds between two checkpoints; a kill loses at most that much training. A checkpoint after every epoch
            would be slow, because it reads back tens of megabytes.
        on_epoch: called with the recipe and each history row.

    Raises:
        DivergedError: the loss is not finite any more; the checkpoint keeps an earlier state.
    """
    train_rows, val_rows = split_rows(data, "public", recipe.seed)
    batches = TrainingBatches(data, train_rows, recipe, soft)
    network = Network(recipe, len(data.label_names), batches.steps)
    state = load_state(checkpoint) if checkpoint.exists() else network.initial_state()
    carry = network.carry(state)
    images, val_images = (jax.device_put(np.asarray(data.images[rows])) for rows in (train_rows, val_rows))
    targets, weights = jax.device_put((batches.targets, batches.weights))
    saved, fastest = time.monotonic(), 0.0

    while len(state.history) < recipe.epochs and not should_stop(recipe, state.history, state.best_row):
        began = time.monotonic()
        if began + fastest > deadline:
            break
        epoch = len(state.history)
        loss, accuracy = network.epoch(carry, images, targets, weights, epoch)
        if not np.isfinite(loss):
            raise DivergedError(
                f"{recipe.name}: the loss became {loss} in epoch {epoch + 1}; lower optimizer.learning_rate "
                f"(it was {recipe.optimizer.learning_rate}) or set optimizer.clip_norm"
            )
        val_loss, val_accuracy = network.score(carry["average"], val_images, data.labels[val_rows])
        if state.best_row is None or val_accuracy > state.best_row["val_accuracy"]:
            state.best = jax.device_get(carry["average"])
        seconds = time.monotonic() - began
        row = {
            "epoch": epoch + 1,
            "loss": loss,
            "accuracy": accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "learning_rate": network.learning_rate(int(carry["steps"])),
            "seconds": round(seconds, 2),
        }
        state.history.append(row)
        fastest = min(fastest or seconds, seconds)  # the first epoch of a call includes the compilation
        if time.monotonic() - saved >= checkpoint_every_s:
            network.read_back(carry, state)
            save_state(checkpoint, state)
            saved = time.monotonic()
        if on_epoch:
            on_epoch(recipe, row)

    network.read_back(carry, state)
    save_state(checkpoint, state)
    return state
