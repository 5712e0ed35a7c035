"""The first layers of the networks: they give all chips one brightness and contrast, and enlarge them to the side that the family takes."""

from __future__ import annotations

import keras
from keras import layers


def standardized(chips: keras.KerasTensor) -> keras.KerasTensor:
    """Return each chip (N, H, W, C) at mean 0 and variance 1, so that lighting and contrast of the photo do not matter."""
    # Epsilon is in grey levels squared: a chip of one grey stays finite.
    return layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, epsilon=1.0, dtype="float32")(chips)


def enlarged(x: keras.KerasTensor, side: int) -> keras.KerasTensor:
    """Return pictures (N, H, W, C) bilinearly enlarged to ``side`` pixels, or as they are where they have that side or ``side`` is 0."""
    if side in (0, x.shape[1]):
        return x
    return keras.ops.image.resize(x, (side, side))  # not the layer Resizing: export would trace the norms after it in training mode
