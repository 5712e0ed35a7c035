"""Sharpness-aware minimisation (SAM): each step uses the gradient at the nearby point where the loss is highest. Training then ends in
flatter minima.

Source: Foret et al. 2021, arXiv:2010.01412. The neighbourhood is that of Kwon et al. 2021, arXiv:2102.11600 (ASAM). It does not depend on
the scale of the weights, which is arbitrary before a batch normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras

Ascend = Callable[[Any, Any, Any], AbstractContextManager[None]]


def ascend_for(model: keras.Model, rho: float) -> Ascend:
    """Return ``ascend(chips, targets, weights)``, a context manager that moves the model's weights to the SAM ascent point of a batch.

    The loss on the batch is higher at that point. With gradient g, the context adds ``rho * w**2 * g / norm(w * g)`` to each trainable
    weight w; the norm is over all weights. At its end, it subtracts the same amounts. A weight of zero does not change.

    Args:
        model: compiled, on one device; the weights that are trainable at this call move.
        rho: radius, relative to the weights; Kwon et al. use 0.5 to 2. With 0, nothing is computed and no weight moves.
    """
    if not rho:
        return lambda *_: nullcontext()
    slopes = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax}[keras.backend.backend()](model)
    variables = model.trainable_variables

    @contextmanager
    def ascend(chips: Any, targets: Any, weights: Any) -> Iterator[None]:
        chips, targets, weights = keras.tree.map_structure(keras.ops.convert_to_tensor, (chips, targets, weights))
        sizes = [keras.ops.abs(variable.value) for variable in variables]
        scaled = [size * slope for size, slope in zip(sizes, slopes(chips, targets, weights), strict=True)]
        length = keras.ops.sqrt(sum(keras.ops.sum(keras.ops.square(one)) for one in scaled)) + 1e-12
        steps = [size * one * (rho / length) for size, one in zip(sizes, scaled, strict=True)]
        for variable, step in zip(variables, steps, strict=True):
            variable.assign_add(step)
        try:
            yield
        finally:
            for variable, step in zip(variables, steps, strict=True):
                variable.assign_sub(step)

    return ascend


def _torch(model: keras.Model) -> Callable[..., list[Any]]:
    import torch

    def slopes(chips: Any, targets: Any, weights: Any) -> list[Any]:
        loss = model.compute_loss(chips, targets, model(chips, training=True), weights)
        return list(torch.autograd.grad(loss, [variable.value for variable in model.trainable_variables]))

    return slopes


def _tensorflow(model: keras.Model) -> Callable[..., list[Any]]:
    import tensorflow as tf

    def slopes(chips: Any, targets: Any, weights: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(chips, targets, model(chips, training=True), weights)
        return list(tape.gradient(loss, [variable.value for variable in model.trainable_variables]))

    compiled: Callable[..., list[Any]] = tf.function(slopes)
    return compiled


def _jax(model: keras.Model) -> Callable[..., list[Any]]:
    import jax

    def loss(trainable: Any, other: Any, metrics: Any, optimizer: Any, chips: Any, targets: Any, weights: Any) -> Any:
        return model.compute_loss_and_updates(
            trainable, other, metrics, chips, targets, weights, training=True, optimizer_variables=optimizer
        )

    gradient = jax.jit(jax.grad(loss, has_aux=True))

    def slopes(chips: Any, targets: Any, weights: Any) -> list[Any]:
        state = (model.trainable_variables, model.non_trainable_variables, model.metrics_variables, model.optimizer.variables)
        return list(gradient(*([variable.value for variable in part] for part in state), chips, targets, weights)[0])

    return slopes
