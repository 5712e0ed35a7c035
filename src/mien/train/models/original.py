"""Family ``original``: the network of the student project from which Mien started.

It has four blocks of 3x3 convolutions and two dense layers, about 10.5 M parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


def build(
    size: int,
    channels: int,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    depths: Sequence[int] = (2, 2, 3, 2),
    block_dropout: Sequence[float] = (0.25, 0.3, 0.4, 0.5),
    dense: Sequence[int] = (1024, 512),
    dense_dropout: float = 0.5,
) -> keras.Model:
    """Return the trunk: chips (N, size, size, channels) float32 in 0..255 -> features (N, dense[-1]).

    Args:
        size: side of the chip in pixels; every block halves it.
        channels: 1 (grey) or 3 (RGB).
        widths: channels of each block.
        depths: convolutions in each block; two in every block give 9.95 M parameters, three in the block of 256 channels 10.54 M.
        block_dropout: rate after the pooling of each block.
        dense: width of each dense layer.
        dense_dropout: rate after each dense layer.
    """
    chips = keras.Input((size, size, channels), name="chips")
    x = layers.Rescaling(1 / 255)(chips)
    for width, depth, rate in zip(widths, depths, block_dropout, strict=True):
        for _ in range(depth):
            x = layers.Conv2D(width, 3, padding="same")(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Dropout(rate)(layers.MaxPooling2D(2)(x))
    x = layers.Flatten()(x)
    for units in dense:
        x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(units)(x)))
        x = layers.Dropout(dense_dropout)(x)
    return keras.Model(chips, x, name="original")
