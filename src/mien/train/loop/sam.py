"""Sharpness-aware minimisation: each step follows the gradient at the point nearby where the loss is highest, and
training ends in flatter minima.

Source: Foret et al. 2021, arXiv:2010.01412; the shape of "nearby" after Kwon et al. 2021, arXiv:2102.11600 (ASAM), so that it does not
depend on the scale of the weights, which batch normalisation leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras

Ascend = Callable[[Any, Any, Any], AbstractContextManager[None]]


def ascend_for(model: keras.Model, rho: float) -> Ascend:
    """Return ``ascend(chips, targets, weights)``: inside this context the model's loss on that batch is higher, outside it is as before.

    With gradient g, each trainable weight w grows by ``rho * w**2 * g / norm(w * g)``; the norm is over all weights. At the end of the
    context each weight shrinks by the same amount. A weight of zero does not change.

    Args:
        model: compiled, on one device; what is trainable now is what moves.
        rho: radius, relative to the weights; Kwon et al. take 0.5 to 2. At 0 nothing is computed and nothing moves.
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
