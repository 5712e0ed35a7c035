"""Family ``wide``: a large residual teacher with channel attention. Train it on an accelerator.

It uses pre-activation blocks (He et al. 2016, arXiv:1603.05027) that are wide instead of deep (Zagoruyko & Komodakis 2016,
arXiv:1605.07146). Squeeze and excitation weights the channels of each block (Hu et al. 2018, arXiv:1709.01507). The first stage works at
the full side of the chip.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from mien.train.models.entry import standardized


def build(
    size: int | None,
    channels: int,
    *,
    stem: int = 32,
    widths: Sequence[int] = (96, 192, 384),
    depths: Sequence[int] = (2, 2, 2),
    squeeze: int = 8,
    block_dropout: float = 0.1,
    drop_path: float = 0.1,
    dropout: float = 0.3,
) -> keras.Model:
    """Return the trunk: chips (N, size, size, channels) float32 in 0..255 -> features (N, widths[-1]).

    Args:
        size: side of the chip in pixels.
        channels: 1 (grey) or 3 (RGB).
        stem: channels of the first convolution.
        widths: channels of each stage; every stage except the first halves the side.
        depths: residual blocks in each stage.
        squeeze: factor by which the inner layer of the attention is narrower than its block.
        block_dropout: rate between the two convolutions of a block.
        drop_path: rate at which training leaves out the last block; the rate rises linearly from 0 at the first block.
        dropout: rate before the heads.
    """
    chips = keras.Input((size, size, channels), name="chips")
    x = standardized(chips)
    x = _conv(x, stem)
    rates = iter(np.linspace(0, drop_path, sum(depths)).tolist())
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for block in range(depth):
            x = _block(x, width, 2 if stage and not block else 1, squeeze, block_dropout, next(rates))
    x = layers.GlobalAveragePooling2D()(_active(x))
    return keras.Model(chips, layers.Dropout(dropout)(x), name="wide")


def _conv(x: keras.KerasTensor, width: int, kernel: int = 3, stride: int = 1) -> keras.KerasTensor:
    return layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)


def _active(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))


def _block(x: keras.KerasTensor, width: int, stride: int, squeeze: int, dropout: float, drop: float) -> keras.KerasTensor:
    y = _active(x)
    shortcut = x
    if x.shape[-1] != width or stride > 1:
        shortcut = _conv(layers.AveragePooling2D(stride)(y) if stride > 1 else y, width, kernel=1)
    y = layers.Dropout(dropout)(_active(_conv(y, width, stride=stride)))
    y = _conv(y, width)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Conv2D(max(4, width // squeeze), 1, activation="relu")(gate)
    y = layers.Multiply()([y, layers.Conv2D(width, 1, activation="sigmoid")(gate)])
    if drop:
        y = layers.Dropout(drop, noise_shape=(None, 1, 1, 1))(y)
    return layers.Add()([shortcut, y])
