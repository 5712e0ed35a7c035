"""Family ``compact``, the default: a plain residual network for small grey faces.

A 5x5 stem with stride 2 halves the chip first. The residual stages (He et al. 2016, arXiv:1512.03385) therefore work at 24, 12 and 6
pixels, where channels and not pixels make up most of the computation.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from mien.train.models.entry import enlarged, standardized


def build(
    size: int | None,
    channels: int,
    *,
    side: int = 0,
    stem: int = 32,
    widths: Sequence[int] = (32, 80, 192),
    depths: Sequence[int] = (1, 2, 2),
    dropout: float = 0.3,
    drop_path: float = 0.0,
) -> keras.Model:
    """Return the trunk: chips (N, size, size, channels) float32 in 0..255 -> features (N, widths[-1]).

    Args:
        size: side of the chip in pixels.
        channels: 1 (grey) or 3 (RGB).
        side: side in pixels to which the graph enlarges the chip, so that every stage gets more pixels; 0 keeps the chip's side.
        stem: channels after the stem.
        widths: channels of each residual stage; every stage except the first halves the side.
        depths: residual blocks in each stage.
        dropout: rate before the head.
        drop_path: rate at which training leaves out the last residual branch, drawn per image; the rate rises linearly from 0 at the
            first branch (stochastic depth, Huang et al. 2016, arXiv:1603.09382).
    """
    chips = keras.Input((size, size, channels), name="chips")
    x = enlarged(standardized(chips), side)
    x = _conv(x, stem, kernel=5, stride=2)
    rates = iter(np.linspace(0, drop_path, sum(depths)).tolist())
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for block in range(depth):
            x = _residual(x, width, stride=2 if stage and not block else 1, drop=next(rates))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(chips, x, name="compact")


def _conv(x: keras.KerasTensor, width: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> keras.KerasTensor:
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return layers.ReLU()(x) if relu else x


def _residual(x: keras.KerasTensor, width: int, stride: int, drop: float) -> keras.KerasTensor:
    shortcut = x
    if stride > 1:
        shortcut = layers.AveragePooling2D(stride)(shortcut)
    if shortcut.shape[-1] != width:
        shortcut = _conv(shortcut, width, kernel=1, relu=False)
    x = _conv(x, width, stride=stride)
    x = _conv(x, width, relu=False)
    if drop:
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1))(x)
    return layers.ReLU()(layers.Add()([x, shortcut]))
