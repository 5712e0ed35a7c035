"""Data-parallel training through Keras's distribution API: each device holds a copy of the weights and gets a share of every batch."""

from __future__ import annotations

import contextlib

import keras

from mien.errors import UsageError


def data_parallel(devices: int, batch_size: int) -> contextlib.AbstractContextManager[object]:
    """Return a context in which networks are built and trained on ``devices`` devices. The loss is that of the whole batch.

    Raises:
        UsageError: the backend is not JAX, there are too few devices, or ``batch_size`` is not a multiple of ``devices``.
    """
    if devices == 1:
        return contextlib.nullcontext()
    backend = keras.backend.backend()
    if backend != "jax":
        raise UsageError(
            f"training on {devices} devices needs the JAX backend, this is {backend}; pip install jax and set KERAS_BACKEND=jax"
        )
    found = keras.distribution.list_devices()
    if not 1 <= devices <= len(found):
        raise UsageError(f"asked for {devices} devices, JAX sees {len(found)}: {', '.join(found)}")
    if batch_size % devices:
        raise UsageError(f"a batch of {batch_size} does not divide evenly over {devices} devices; set batch_size to a multiple")
    scope: contextlib.AbstractContextManager[object] = keras.distribution.DataParallel(
        devices=found[:devices], auto_shard_dataset=False
    ).scope()
    return scope
