"""The first layers of the networks: they give all chips the same brightness and contrast and enlarge them to the family's side."""

from __future__ import annotations

import keras
from keras import layers


def standardized(chips: keras.KerasTensor) -> keras.KerasTensor:
    """Return each chip (N, H, W, C) with mean 0 and variance 1, so that lighting and contrast of the photo have no effect."""
    # Epsilon is in squared grey levels. It keeps the result finite for a chip of a single grey level.
    return layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, epsilon=1.0, dtype="float32")(chips)


def enlarged(x: keras.KerasTensor, side: int) -> keras.KerasTensor:
    """Return pictures (N, H, W, C) bilinearly enlarged to ``side`` pixels. They stay unchanged if they have that side or ``side`` is 0."""
    if side in (0, x.shape[1]):
        return x
    return keras.ops.image.resize(x, (side, side))  # after the layer Resizing, export would trace the norms in training mode
