"""Batch normalisation with torch's fused kernel, for training on a CPU under the torch backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def fuse_norms(model: keras.Model) -> None:
    """Make torch's fused kernel compute the batch normalisation of ``model``. Under another backend, nothing changes.

    Keras builds the layer from a dozen element-wise operations. On a CPU, these take more than half of a training step of a small
    network. The fused kernel gives the same output. One thing differs: its running variance divides by n - 1, and Keras's divides by n,
    where n is the number of values per channel in the batch. Layers and weights of the network do not change, so it is saved and loaded
    as before.
    """
    if keras.backend.backend() != "torch":
        return
    # Only this method of Keras also lists the layers of nested networks; a pretrained trunk is a nested network.
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
