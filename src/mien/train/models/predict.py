"""Runs a Keras network batch by batch, so that a whole data set fits into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

BATCH = 256


def predict(model: keras.Model, inputs: NDArray[np.float32], head: str | None = None, *, batch: int = BATCH) -> NDArray[np.float64]:
    """Return the output (N, ...) of a network for prepared chips.

    Args:
        model: chips -> one output, or one output per head.
        inputs: what :func:`mien.train.loop.batches.to_input` returns, float32 (N, H, W, C) in 0..255; at least one chip.
        head: the output to return, if the network has several.
        batch: number of chips per call of the network.
    """
    import keras

    answers = (model.predict_on_batch(inputs[start : start + batch]) for start in range(0, len(inputs), batch))
    picked = [keras.ops.convert_to_numpy(answer if head is None else answer[head]) for answer in answers]
    return np.concatenate(picked).astype(np.float64)
