"""Batch normalisation by torch's own kernel, for training on a CPU under the torch backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def fuse_norms(model: keras.Model) -> None:
    """Let torch's fused kernel compute the batch normalisation of ``model``; does nothing under another backend.

    Keras composes the layer of a dozen element-wise operations, which take more than half of a training step of a small network on a
    CPU. The fused kernel gives the same output; its running variance divides by n - 1 where Keras's divides by n, the count of values
    a channel in the batch. The network keeps its layers and its weights, so it is saved and read as before.
    """
    if keras.backend.backend() != "torch":
        return
    # Keras flattens nested networks here alone, and a pretrained trunk is one.
    for layer in model._flatten_layers():
        if type(layer) is keras.layers.BatchNormalization and layer.scale and layer.center:
            layer.call = _fused(layer)


def _fused(layer: keras.layers.BatchNormalization) -> Callable[..., Any]:
    import torch

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ARG001  (Keras passes it by name)
        x = torch.movedim(inputs, layer.axis, 1)
        y = torch.nn.functional.batch_norm(
            x,
            layer.moving_mean.value,
            layer.moving_variance.value,
            layer.gamma.value,
            layer.beta.value,
            training=bool(training) and layer.trainable,
            momentum=1 - layer.momentum,
            eps=layer.epsilon,
        )
        return torch.movedim(y, 1, layer.axis)

    return call
