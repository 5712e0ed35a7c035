"""The smallest family: a handful of plain 3x3 convolutions for one CPU core, a phone or a browser.

Depthwise convolutions would need fewer multiplications, but at this size memory traffic and the number of layers decide, in
training as at run time.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


def build(size: int, channels: int, *, stem: int = 16, widths: Sequence[int] = (32, 64, 96, 96, 96), dropout: float = 0.1) -> keras.Model:
    """Return the trunk: chips (N, size, size, channels) float32 in 0..255 -> features (N, widths[-1]).

    Args:
        size: side of the chip in pixels.
        channels: 1 (grey) or 3 (RGB).
        stem: channels after the 5x5 stem, which halves the side.
        widths: channels of each 3x3 convolution; those wider than the one before halve the side, from the second on.
        dropout: rate before the head.
    """
    chips = keras.Input((size, size, channels), name="chips")
    x = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, epsilon=1.0, dtype="float32")(chips)
    x = _conv(x, stem, kernel=5, stride=2)
    for i, width in enumerate(widths):
        x = _conv(x, width, kernel=3, stride=2 if i and width > widths[i - 1] else 1)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(chips, x, name="nano")


def _conv(x: keras.KerasTensor, width: int, kernel: int, stride: int) -> keras.KerasTensor:
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
