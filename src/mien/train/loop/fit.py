"""Trains a recipe on a data set and writes a run folder.

The loop does not use ``Model.fit``, for three reasons. It must run under every Keras backend. It must survive a kill at any point. It must
average the weights during the epoch.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mien.atomic import atomic_write
from mien.classify import softmax
from mien.errors import DivergedError, MienWarning, TrainingError, UsageError
from mien.train.data.dataset import Dataset, describe, fingerprint
from mien.train.data.splits import default_validation, split_rows
from mien.train.loop.batches import TrainingBatches, preprocess, to_input
from mien.train.loop.checkpoint import Arrays, RunState, load_state, save_state
from mien.train.loop.classic import write_classic
from mien.train.loop.curves import TensorBoardLog, draw_curves
from mien.train.loop.devices import data_parallel
from mien.train.loop.optimize import compile_for, is_frozen, lower_on_plateau, should_stop
from mien.train.loop.run_folder import CHECKPOINT, CONFIG, ENVIRONMENT, MODEL, environment, write_history, write_json
from mien.train.loop.sam import Ascend, ascend_for
from mien.train.models import build_model, load_pretrained
from mien.train.models.predict import predict
from mien.train.models.torch_norm import fuse_norms
from mien.train.recipe import Recipe

FEW_STEPS = 8  # per epoch; running averages need some dozens of steps to follow the weights
PRETRAINED_CHIPS = 512  # for measuring the batch norms of a loaded network
EMA_EVERY = 4  # steps between two updates of the weight average
EpochReport = Callable[[dict[str, Any]], None]
StepReport = Callable[[int, int, int], None]


def fit(
    recipe: Recipe,
    data: Dataset,
    run: str | Path,
    *,
    validation: str | None = None,
    resume: bool = False,
    soft: NDArray[np.float32] | None = None,
    teacher: keras.Model | None = None,
    devices: int = 1,
    on_epoch: EpochReport | None = None,
    on_step: StepReport | None = None,
) -> RunState:
    """Train a recipe on ``data`` and return the final state. The run folder holds everything that later steps need.

    Args:
        recipe: what to train and how.
        data: images with the splits ``train`` and the validation split.
        run: folder of the run, made if it is missing. An existing run is continued with ``resume`` and refused without it.
        validation: split that chooses the epoch; by default ``public``, else ``val``, else a tenth of ``train``, chosen by the seed.
        resume: continue after the last complete epoch.
        soft: teacher probabilities (len(data), classes) that replace the labels, for distillation.
        teacher: a network (chips -> logits of the same labels); its predictions on each augmented batch replace the labels.
        devices: number of devices that share each batch (JAX backend only).
        on_epoch: called with each history row.
        on_step: called after each batch with the epoch (from 0), the number of batches done and the number of batches of the epoch.

    Raises:
        DataError: there are no training images or no validation images.
        DivergedError: the loss is not finite any more; the run folder keeps the last good state.
        TrainingError: the folder holds another run, or cannot be written.
        UsageError: a teacher is combined with soft labels, several devices, preprocessing or crops; or ``sam_rho`` with several devices.
    """
    if recipe.optimizer.sam_rho and devices > 1:
        raise UsageError("optimizer.sam_rho trains on one device: leave it or --devices out")
    if teacher is not None and (soft is not None or devices > 1 or recipe.preprocess != "none" or recipe.augment.crop):
        raise UsageError("a teacher answers each batch itself: leave out soft labels, several devices and the recipe's preprocess and crop")
    run = Path(run)
    validation = validation or default_validation(data)
    train_rows, val_rows = split_rows(data, validation, recipe.seed)
    batches = TrainingBatches(data, train_rows, recipe, soft)
    if batches.steps < FEW_STEPS:
        _warn_of_few_steps(recipe, len(train_rows), batches.steps)
    classes = len(data.label_names)
    keras.utils.set_random_seed(recipe.seed)
    judge = build_model(recipe, classes)  # computes the scores of the averaged weights, in float32 on one device
    with data_parallel(devices, recipe.batch_size):
        model = trainable(recipe, classes)
        config = {
            "recipe": recipe.to_dict(),
            "labels": list(data.label_names),
            "data": fingerprint(data),
            "images": _mark(data.images),
            "validation": validation,
            "excluded": [data.names[row] for row in data.rows("excluded")],
            "votes": _mark([data.votes]) if data.votes is not None and recipe.learns_votes else None,
            "soft_labels": None if soft is None else _mark([soft]),
            "teacher": None if teacher is None else _mark(teacher.get_weights()),
        }
        state = _open(run, config, data, model, batches.steps, resume)
    ascend = ascend_for(model, recipe.optimizer.sam_rho)
    val_chips = to_input(preprocess(np.asarray(data.images[val_rows]), recipe.preprocess))
    log = TensorBoardLog(run, state.history)

    while len(state.history) < recipe.epochs and not should_stop(recipe, state.history, state.best_row):
        epoch = len(state.history)
        began = time.perf_counter()
        # Under torch, dropout uses the global random stream of the backend, which a checkpoint does not hold.
        keras.utils.set_random_seed(int(np.random.SeedSequence((recipe.seed, epoch)).generate_state(1)[0]))
        with data_parallel(devices, recipe.batch_size):
            if epoch and is_frozen(recipe, epoch - 1) and not is_frozen(recipe, epoch):
                compile_for(model, recipe, epoch, batches.steps)
                ascend = ascend_for(model, recipe.optimizer.sam_rho)
            loss, accuracy, waited = _train_epoch(model, batches, epoch, state, recipe.ema, ascend, teacher, on_step)
        if not np.isfinite(loss):
            raise _diverged(recipe, data, run, state, loss)
        judge.set_weights(state.average)
        val_accuracy, val_loss = _score(judge, val_chips, data.labels[val_rows])
        row = {
            "epoch": epoch + 1,
            "loss": loss,
            "accuracy": accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "learning_rate": float(_numpy([model.optimizer.learning_rate])[0]),
            "seconds": round(time.perf_counter() - began, 2),
            "input_wait_share": round(waited / (time.perf_counter() - began), 4),
        }
        if state.best_row is None or val_accuracy > state.best_row["val_accuracy"]:
            state.best = [array.copy() for array in state.average]
        state.history.append(row)
        if not is_frozen(recipe, epoch):
            lower_on_plateau(model, recipe, state.history)
        state.weights, state.optimizer, state.seeds = _numpy(model.weights), _numpy(model.optimizer.variables), _numpy(_seeds(model))
        _keep(run, state, log)
        if on_epoch:
            on_epoch(row)

    log.close()
    _write_models(recipe, data, run, state)
    return state


def export_keras(recipe: Recipe, label_names: tuple[str, ...], weights: Arrays, file: Path) -> keras.Model:
    """Write a float32 network with one output (logits over ``label_names``) and the ``weights`` of the training network; return it."""
    trained = build_model(recipe, len(label_names))
    trained.set_weights(weights)
    model = keras.Model(trained.input, trained.get_layer("emotion").output, name=recipe.name)
    with atomic_write(file, ending=".part.keras") as draft:
        model.save(draft)
    return model


def _warn_of_few_steps(recipe: Recipe, images: int, steps: int) -> None:
    smaller = max(8, images // (2 * FEW_STEPS))
    better = images // smaller
    advice = f"; --set batch_size={smaller} gives {better}" if better > steps else ""
    warnings.warn(
        f"{images} training images in batches of {recipe.batch_size} are {steps} step{'s' * (steps > 1)} an epoch, too few for the running "
        f"averages to follow the weights{advice}; or train for many more epochs",
        MienWarning,
        stacklevel=3,
    )


def trainable(recipe: Recipe, classes: int) -> keras.Model:
    """Return the network that a run trains, not yet compiled. It has the recipe's precision and the fastest layers of the backend."""
    with computing_in(recipe.precision):
        model = build_model(recipe, classes, any_side=bool(recipe.augment.crop))
    fuse_norms(model)
    return model


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Make networks that are built in this context compute in ``precision``, for example ``mixed_bfloat16``. Weights stay float32."""
    keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy("float32")


def _open(run: Path, config: dict[str, Any], data: Dataset, model: keras.Model, steps: int, resume: bool) -> RunState:
    """Return the state to continue from. Afterwards ``model`` is compiled and holds the weights of that state."""
    recipe = Recipe.from_dict(config["recipe"])
    file = run / CONFIG
    if file.exists():
        if not resume:
            raise TrainingError(f"{run} already holds a run; add --resume to continue it, or choose another folder")
        old = json.loads(file.read_text(encoding="utf-8"))
        old["recipe"] = Recipe.from_dict(old["recipe"]).to_dict()  # keys that are newer than the run get their defaults
        if changed := [key for key, value in config.items() if key in old and old[key] != value]:
            keys = "".join(f" ({'; '.join(_differences(old['recipe'], config['recipe']))})" for key in changed if key == "recipe")
            raise TrainingError(
                f"{run} differs in its {' and '.join(changed)}{keys}; use the same, or choose another folder, "
                f"where --set model.weights={run / MODEL} goes on from its network"
            )
    resumed = (run / CHECKPOINT).exists()
    if not resumed:
        chips = np.stack([data.images[row] for row in data.rows("train")[:PRETRAINED_CHIPS]])
        load_pretrained(model, recipe, preprocess(chips, recipe.preprocess))
        start = _numpy(model.weights)
        state = RunState(weights=start, optimizer=[], seeds=[], average=[array.copy() for array in start], best=start)
    else:
        state = load_state(run / CHECKPOINT)
        if not state.optimizer:
            raise TrainingError(
                f"{run} is a mean of other runs and has no step to go on from; --set model.weights={run / MODEL} begins with it"
            )
    # The saved optimiser belongs to the phase of the last epoch. A new phase starts with a fresh optimiser.
    compile_for(model, recipe, max(0, len(state.history) - 1), steps)
    if resumed:
        for variables, arrays in (
            (model.weights, state.weights),
            (model.optimizer.variables, state.optimizer),
            (_seeds(model), state.seeds),
        ):
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
    try:
        run.mkdir(parents=True, exist_ok=True)
        write_json(run / ENVIRONMENT, {**environment(keras.backend.backend()), "images": describe(data)})
        write_json(file, config)
        write_history(run, state.history)  # the run may have been killed between the checkpoint and the history
    except OSError as error:
        raise TrainingError(f"cannot write the run folder {run}: {error}") from None
    return state


def _differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys in which two recipes differ, dotted, with both values."""
    for key, value in here.items():
        if isinstance(value, dict) and isinstance(there.get(key), dict):
            yield from _differences(there[key], value, f"{prefix}{key}.")
        elif there.get(key) != value:
            yield f"{prefix}{key}: {there.get(key)!r} there, {value!r} here"


def _keep(run: Path, state: RunState, log: TensorBoardLog) -> None:
    try:
        save_state(run / CHECKPOINT, state)
        write_history(run, state.history)
        draw_curves(run, state.history)
        log.add(state.history[-1])
    except OSError as error:
        raise TrainingError(
            f"cannot write to {run} after epoch {len(state.history)}: {error}. The last complete epoch is safe; make room, then --resume"
        ) from error


def _diverged(recipe: Recipe, data: Dataset, run: Path, state: RunState, loss: float) -> DivergedError:
    done = len(state.history)
    kept = "nothing was kept"
    if done:
        export_keras(recipe, data.label_names, state.best, run / MODEL)
        kept = f"{run / MODEL} holds the best weights up to epoch {done}"
    return DivergedError(
        f"the loss became {loss} in epoch {done + 1}; {kept}. Start another run with a lower optimizer.learning_rate "
        f"(it was {recipe.optimizer.learning_rate}) or with optimizer.clip_norm"
    )


def _write_models(recipe: Recipe, data: Dataset, run: Path, state: RunState) -> None:
    try:
        model = export_keras(recipe, data.label_names, state.best, run / MODEL)
        if recipe.classic_files:
            write_classic(run, model, state.history)
    except OSError as error:
        raise TrainingError(f"cannot write the model to {run}: {error}. Every epoch is safe; make room, then --resume") from error


def _train_epoch(
    model: keras.Model,
    batches: TrainingBatches,
    epoch: int,
    state: RunState,
    decay: float,
    ascend: Ascend,
    teacher: keras.Model | None,
    on_step: StepReport | None,
) -> tuple[float, float, float]:
    """Run one epoch and return mean loss, training accuracy and seconds of waiting for input. Stop at a loss that is not finite."""
    sums = np.zeros(2)
    waited, mark = 0.0, time.perf_counter()
    for step, batch in enumerate(batches.epoch(epoch), start=1):
        waited += time.perf_counter() - mark
        targets = batch.targets
        if teacher is not None:
            logits = keras.ops.convert_to_numpy(teacher.predict_on_batch(batch.chips))
            targets = {**targets, "emotion": softmax(logits).astype(np.float32)}
        with ascend(batch.chips, targets, batch.weights):
            logs = model.train_on_batch(batch.chips, targets, sample_weight=batch.weights, return_dict=True)
        sums += float(logs["loss"]), float(logs.get("emotion_accuracy", logs.get("accuracy", float("nan"))))
        if not np.isfinite(sums[0]):
            break
        state.steps += 1
        if decay and state.steps % EMA_EVERY == 0:
            # The decay is smaller in the first updates, so that the random start fades quickly (schedule of Tan & Le 2019).
            keep = min(decay, (1 + state.steps) / (10 + state.steps)) ** EMA_EVERY
            state.average = [a + (1 - keep) * (b - a) for a, b in zip(state.average, _numpy(model.weights), strict=True)]
        if on_step:
            on_step(epoch, step, batches.steps)
        mark = time.perf_counter()
    if not decay:
        state.average = _numpy(model.weights)
    loss, accuracy = sums / batches.steps
    return float(loss), float(accuracy), waited


def _score(model: keras.Model, chips: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Return (accuracy, log loss) of the emotion head."""
    logits = predict(model, chips, "emotion")
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float((logits.argmax(1) == labels).mean()), float(-log_p[np.arange(len(labels)), labels].mean())


def _mark(arrays: Iterable[NDArray[Any]]) -> str:
    """Return a short hash of the values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _numpy(variables: list[Any]) -> Arrays:
    """Return copies of the variables' values."""
    return [np.asarray(variable).copy() for variable in variables]


def _seeds(model: keras.Model) -> list[Any]:
    return [layer.seed_generator.state for layer in model.layers if getattr(layer, "seed_generator", None)]
