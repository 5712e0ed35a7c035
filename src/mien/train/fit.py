"""The training loop: recipe and data in, a run folder out.

The loop is written out, step by step, because the same lines have to do under every Keras backend, survive a kill between any two
of them, and average the weights on their way.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError, DivergedError, TrainingError
from mien.train.batches import TrainingBatches, preprocess, to_input
from mien.train.checkpoint import Arrays, RunState, load_state, save_state
from mien.train.data import Dataset, describe, fingerprint
from mien.train.models import build_model
from mien.train.recipe import Recipe
from mien.train.rundir import write_history

EMA_EVERY = 4  # steps between two updates of the weight average
Report = Callable[[dict[str, Any]], None]


def fit(
    recipe: Recipe,
    data: Dataset,
    run: str | Path,
    *,
    validation: str | None = None,
    resume: bool = False,
    soft: NDArray[np.float32] | None = None,
    on_epoch: Report | None = None,
) -> RunState:
    """Train a recipe on ``data`` and return the final state; the run folder holds everything needed later.

    Args:
        recipe: what to train and how.
        data: images with the splits ``train`` and the validation split.
        run: folder, made if missing; an existing run is continued with ``resume`` and otherwise refused.
        validation: split that chooses the epoch; ``public`` where there is one, else ``val``, else a tenth of ``train``, by seed.
        resume: continue after the last complete epoch.
        soft: teacher probabilities for the training rows, in their order.
        on_epoch: called with each history row.

    Raises:
        DataError: no training or validation images.
        DivergedError: the loss stopped being finite; the run folder keeps the last good state.
        TrainingError: the folder holds another run.
    """
    run = Path(run)
    train_rows, val_rows = split_rows(data, validation, recipe.seed)
    batches = TrainingBatches(data, train_rows, recipe, soft)
    keras.utils.set_random_seed(recipe.seed)
    keras.mixed_precision.set_global_policy(recipe.precision)
    try:
        model = build_model(recipe, len(data.label_names))
        judge = build_model(recipe, len(data.label_names))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    _compile(model, recipe, batches.steps)
    state = _open(run, recipe, data, model, resume)
    val_chips = to_input(preprocess(np.asarray(data.images[val_rows]), recipe.preprocess))

    for epoch in range(len(state.history), recipe.epochs):
        began = time.perf_counter()
        loss, accuracy, waited = _train_epoch(model, batches, epoch, state, recipe.ema)
        judge.set_weights(state.average)
        val_accuracy, val_loss = _score(judge, val_chips, data.labels[val_rows])
        row = {
            "epoch": epoch + 1,
            "loss": loss,
            "accuracy": accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "learning_rate": float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
            "seconds": round(time.perf_counter() - began, 2),
            "input_wait_share": round(waited / (time.perf_counter() - began), 4),
        }
        if not np.isfinite([loss, val_loss]).all():
            write_history(run, state.history)
            raise DivergedError(
                f"the loss became {loss} in epoch {epoch + 1}; {run} keeps the state after epoch {epoch}. Lower optimizer.learning_rate or "
                f"set optimizer.clip_norm, then resume"
            )
        best = state.best_row
        if best is None or val_accuracy > best["val_accuracy"]:
            state.best = [array.copy() for array in state.average]
        state.history.append(row)
        state.weights, state.optimizer, state.seeds = _numpy(model.weights), _numpy(model.optimizer.variables), _numpy(_seeds(model))
        save_state(run / "checkpoint.npz", state)
        write_history(run, state.history)
        if on_epoch:
            on_epoch(row)
        if _should_stop(state, recipe):
            break
        _plateau(model, state, recipe)

    export_keras(recipe, data.label_names, state.best, run / "model.keras")
    return state


def split_rows(data: Dataset, validation: str | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (training rows, validation rows), never touching the splits that are only reported."""
    train = data.rows("train")
    if validation is None:
        validation = next((name for name in ("public", "val") if len(data.rows(name))), "holdout")
    if validation in {"private", "test"}:
        raise DataError(f"{validation!r} is kept for the final report; choose epochs on 'public', 'val' or 'holdout'")
    if validation == "holdout":
        order = np.random.default_rng(seed).permutation(train)
        cut = max(1, len(order) // 10)
        return np.sort(order[cut:]), np.sort(order[:cut])
    rows = data.rows(validation)
    if not len(train) or not len(rows):
        raise DataError(f"{data.root} has {len(train)} training and {len(rows)} {validation!r} images; both are needed")
    return train, rows


def export_keras(recipe: Recipe, label_names: tuple[str, ...], weights: Arrays, file: Path) -> keras.Model:
    """Write the single-output float32 network (logits over ``label_names``) with ``weights`` of the training network; return it."""
    trained = build_model(recipe, len(label_names))
    trained.set_weights(weights)
    model = keras.Model(trained.input, trained.get_layer("emotion").output, name=recipe.name)
    part = file.with_name(f".{file.stem}.part.keras")
    model.save(part)
    os.replace(part, file)
    return model


def _compile(model: keras.Model, recipe: Recipe, steps: int) -> None:
    o = recipe.optimizer
    rate: Any = o.learning_rate
    if o.schedule == "cosine":
        warmup = min(int(o.warmup_epochs * steps), recipe.epochs * steps - 1)
        rate = keras.optimizers.schedules.CosineDecay(
            o.learning_rate / 100 if warmup else o.learning_rate,
            decay_steps=recipe.epochs * steps - warmup,
            warmup_target=o.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    common = {"learning_rate": rate, "weight_decay": o.weight_decay or None, "global_clipnorm": o.clip_norm or None}
    optimizer = (
        keras.optimizers.SGD(momentum=o.momentum, nesterov=o.momentum > 0, **common)
        if o.name == "sgd"
        else keras.optimizers.AdamW(**{**common, "weight_decay": o.weight_decay})
    )
    if o.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = {name: keras.losses.CategoricalCrossentropy(from_logits=True) for name in model.output_names}
    model.compile(
        optimizer,
        loss=loss,
        loss_weights={name: recipe.loss.votes_weight if name == "votes" else 1.0 for name in model.output_names},
        weighted_metrics={"emotion": [keras.metrics.CategoricalAccuracy(name="accuracy")]},
        jit_compile=keras.backend.backend() == "jax",  # XLA halves the speed of convolutions on a CPU under TensorFlow
    )
    optimizer.build(model.trainable_variables)


def _open(run: Path, recipe: Recipe, data: Dataset, model: keras.Model, resume: bool) -> RunState:
    config = {"recipe": recipe.to_dict(), "labels": list(data.label_names), "data": fingerprint(data)}
    file = run / "config.json"
    if file.exists():
        old = json.loads(file.read_text(encoding="utf-8"))
        if not resume:
            raise TrainingError(f"{run} already holds a run; add --resume to continue it, or choose another folder")
        if changed := [key for key, value in config.items() if old.get(key) != value]:
            raise TrainingError(f"{run} was started with another {' and '.join(changed)}; use the same ones, or choose another folder")
    run.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (run / "environment.json").write_text(json.dumps(_environment(data), indent=2) + "\n", encoding="utf-8")
    if not (run / "checkpoint.npz").exists():
        start = _numpy(model.weights)
        return RunState(weights=start, optimizer=[], seeds=[], average=[a.copy() for a in start], best=start)
    state = load_state(run / "checkpoint.npz")
    for variables, arrays in ((model.weights, state.weights), (model.optimizer.variables, state.optimizer), (_seeds(model), state.seeds)):
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
    return state


def _train_epoch(model: keras.Model, batches: TrainingBatches, epoch: int, state: RunState, decay: float) -> tuple[float, float, float]:
    """Run one epoch; return mean loss, training accuracy and seconds spent waiting for input."""
    sums = np.zeros(2)  # train_on_batch answers for its own batch only
    waited, mark = 0.0, time.perf_counter()
    for batch in batches.epoch(epoch):
        waited += time.perf_counter() - mark
        logs = model.train_on_batch(batch.chips, batch.targets, sample_weight=batch.weights, return_dict=True)
        sums += float(logs["loss"]), float(logs.get("emotion_accuracy", logs.get("accuracy", float("nan"))))
        state.steps += 1
        if state.steps % EMA_EVERY == 0:
            # The first updates forget quickly, so that the random start does not linger (Tan & Le 2019's schedule).
            keep = min(decay, (1 + state.steps) / (10 + state.steps)) ** EMA_EVERY
            for average, variable in zip(state.average, model.weights, strict=True):
                average += (1 - keep) * (keras.ops.convert_to_numpy(variable) - average)
        mark = time.perf_counter()
    loss, accuracy = sums / batches.steps
    return float(loss), float(accuracy), waited


def _score(model: keras.Model, chips: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    logits = np.concatenate(
        [keras.ops.convert_to_numpy(model.predict_on_batch(chips[i : i + 256])["emotion"]) for i in range(0, len(chips), 256)]
    ).astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float((logits.argmax(1) == labels).mean()), float(-log_p[np.arange(len(labels)), labels].mean())


def _should_stop(state: RunState, recipe: Recipe) -> bool:
    best = state.best_row
    return bool(recipe.early_stopping and best and len(state.history) - best["epoch"] >= recipe.early_stopping)


def _plateau(model: keras.Model, state: RunState, recipe: Recipe) -> None:
    o = recipe.optimizer
    losses = [row["val_loss"] for row in state.history]
    since_best = len(losses) - 1 - int(np.argmin(losses))
    if o.schedule == "plateau" and since_best and since_best % o.plateau_patience == 0:
        model.optimizer.learning_rate.assign(model.optimizer.learning_rate * o.plateau_factor)


def _numpy(variables: list[Any]) -> Arrays:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _seeds(model: keras.Model) -> list[Any]:
    return [layer.seed_generator.state for layer in model.layers if getattr(layer, "seed_generator", None)]


def _environment(data: Dataset) -> dict[str, Any]:
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S607
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "numpy": np.__version__,
        "git_revision": revision or None,
        "images": describe(data),
    }
