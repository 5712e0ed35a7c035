"""Compiles a network with the optimiser, the learning-rate schedule and the phases of a recipe."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from mien.train.models import HEADS
from mien.train.recipe import Recipe


def is_frozen(recipe: Recipe, epoch: int) -> bool:
    """Return True for the epochs (counted from 0) that train only the heads."""
    return epoch < recipe.frozen.epochs


def compile_for(model: keras.Model, recipe: Recipe, epoch: int, steps: int) -> None:
    """Compile ``model`` with a fresh optimiser for the phase of ``epoch`` (counted from 0).

    Args:
        model: the trainable network; in the frozen phase, everything except its heads becomes untrainable.
        recipe: learning rates, schedule and loss weights.
        epoch: any epoch of the phase.
        steps: batches per epoch.
    """
    frozen = is_frozen(recipe, epoch)
    for layer in model.layers:
        layer.trainable = not frozen or layer.name in HEADS
    o = recipe.optimizer
    rate = recipe.frozen.learning_rate if frozen else _schedule(recipe, steps)
    common = {"learning_rate": rate, "global_clipnorm": o.clip_norm or None, "weight_decay": o.weight_decay or None}
    if o.name == "sgd":
        optimizer = keras.optimizers.SGD(momentum=o.momentum, nesterov=o.momentum > 0, **common)
    elif o.name == "muon":
        half = recipe.precision == "mixed_bfloat16"
        optimizer = KernelMuon(
            momentum=o.momentum, adam_weight_decay=o.weight_decay, iterate_in="bfloat16" if half else "float32", **common
        )
    elif o.name == "adam":
        optimizer = keras.optimizers.Adam(**common)
    else:
        optimizer = keras.optimizers.AdamW(**{**common, "weight_decay": o.weight_decay})
    if o.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer,
        loss={name: keras.losses.CategoricalCrossentropy(from_logits=True) for name in model.output_names},
        loss_weights={name: recipe.loss.votes_weight if name == "votes" else 1.0 for name in model.output_names},
        weighted_metrics={"emotion": [keras.metrics.CategoricalAccuracy(name="accuracy")]},
        jit_compile=keras.backend.backend() == "jax",  # under TensorFlow on a CPU, XLA makes convolutions half as fast
    )
    model.optimizer.build(model.trainable_variables)


class KernelMuon(keras.optimizers.Muon):  # type: ignore[misc]  # Keras has no types
    """Muon for convolutions: each kernel is one matrix (height * width * inputs, outputs).

    AdamW updates the rest: norms, biases, heads, and kernels with one input or one output per channel (stems for grey chips, depthwise).

    Keras's own Muon leaves kernels of four dimensions to AdamW. Sources: Muon, Jordan et al. 2024; the step size, Liu et al. 2025,
    arXiv:2502.16982. With that step size, learning rate and weight decay have the same scale as for AdamW.

    Args:
        iterate_in: dtype of the Newton-Schulz iteration. Jordan et al. use bfloat16, because only the direction of a step depends on it.
    """

    def __init__(self, *args: Any, iterate_in: str = "float32", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.iterate_in = iterate_in

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 4 or 1 in variable.shape[2:]

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        matrix = keras.ops.reshape(x, (-1, x.shape[-1]))
        # The scaling to norm 1 uses float32, because the sum of squares has many terms.
        matrix = keras.ops.cast(matrix / (keras.ops.norm(matrix) + 1e-7), self.iterate_in)
        step = keras.ops.cast(super().zeropower_via_newtonschulz5(matrix, steps), x.dtype)
        return keras.ops.reshape(super().lr_adjust(step), x.shape)

    def lr_adjust(self, x: Any) -> Any:
        return x  # zeropower_via_newtonschulz5 has done it, where the kernel is a matrix

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "iterate_in": self.iterate_in}


def _schedule(recipe: Recipe, steps: int) -> Any:
    o = recipe.optimizer
    if o.schedule != "cosine":
        return o.learning_rate
    total = max(1, recipe.epochs - recipe.frozen.epochs) * steps
    warmup = min(int(o.warmup_epochs * steps), total - 1)
    hold = int(o.hold * (total - warmup))
    return HeldCosine(
        o.learning_rate / 100 if warmup else o.learning_rate,
        decay_steps=total - warmup - hold,
        warmup_target=o.learning_rate if warmup else None,
        warmup_steps=warmup,
        hold_steps=hold,
    )


class HeldCosine(keras.optimizers.schedules.CosineDecay):  # type: ignore[misc]  # Keras has no types
    """Keras's warm-up and cosine decay, with ``hold_steps`` steps at the full rate between them.

    A long hold before a short decay is the warm-up-stable-decay schedule of Hu et al. 2024 (MiniCPM, arXiv:2404.06395).
    """

    def __init__(self, *args: Any, hold_steps: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hold_steps = hold_steps

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        return super().__call__(keras.ops.minimum(step, keras.ops.maximum(step - self.hold_steps, self.warmup_steps)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hold_steps": self.hold_steps}


def lower_on_plateau(model: keras.Model, recipe: Recipe, history: list[dict[str, Any]]) -> None:
    """Multiply the learning rate by ``plateau_factor`` after every ``plateau_patience`` epochs without a lower validation loss."""
    o = recipe.optimizer
    losses = [row["val_loss"] for row in history[recipe.frozen.epochs :]]
    if o.schedule != "plateau" or not losses:
        return
    since_best = len(losses) - 1 - int(np.argmin(losses))
    if since_best and since_best % o.plateau_patience == 0:
        model.optimizer.learning_rate.assign(model.optimizer.learning_rate * o.plateau_factor)


def should_stop(recipe: Recipe, history: list[dict[str, Any]], best_row: dict[str, Any] | None) -> bool:
    """Return True after ``early_stopping`` epochs without a better validation accuracy."""
    return bool(recipe.early_stopping and best_row and len(history) - best_row["epoch"] >= recipe.early_stopping)
