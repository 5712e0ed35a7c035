"""Family ``convnext``: a large teacher with large depthwise kernels and wide pointwise layers. Train it on an accelerator.

It uses the block of ConvNeXt (Liu et al. 2022, arXiv:2201.03545). The stem has two 3x3 convolutions, because these lose less of a chip of
64 to 112 pixels than the original's 4x4 patches. A batch normalisation holds the learned scale of each branch, so that weight decay does
not act on it.
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
    widths: Sequence[int] = (80, 160, 320, 512),
    depths: Sequence[int] = (2, 2, 6, 2),
    kernel: int = 7,
    layer_scale: float = 1e-4,
    drop_path: float = 0.2,
    dropout: float = 0.2,
) -> keras.Model:
    """Return the trunk: chips (N, size, size, channels) float32 in 0..255 -> features (N, widths[-1]).

    Args:
        size: side of the chip in pixels; the stem divides it by 4, and every later stage halves it.
        channels: 1 (grey) or 3 (RGB).
        widths: channels of each stage.
        depths: blocks in each stage.
        kernel: side of the depthwise kernels.
        layer_scale: start value of the learned scale of each block's branch.
        drop_path: rate at which training leaves out the last block; the rate rises linearly from 0 at the first block.
        dropout: rate before the heads.
    """
    chips = keras.Input((size, size, channels), name="chips")
    x = standardized(chips)
    for width in (widths[0] // 2, widths[0]):
        x = _norm(layers.Conv2D(width, 3, 2, padding="same", kernel_initializer="he_normal")(x))
    rates = iter(np.linspace(0, drop_path, sum(depths)).tolist())
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            x = layers.Conv2D(width, 2, 2, padding="same", kernel_initializer="he_normal")(_norm(x))
        for _ in range(depth):
            x = _block(x, width, kernel, layer_scale, next(rates))
    x = _norm(layers.GlobalAveragePooling2D()(x))
    return keras.Model(chips, layers.Dropout(dropout)(x), name="convnext")


def _norm(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.LayerNormalization(epsilon=1e-6)(x)


def _block(x: keras.KerasTensor, width: int, kernel: int, layer_scale: float, drop: float) -> keras.KerasTensor:
    y = layers.DepthwiseConv2D(kernel, padding="same", depthwise_initializer="he_normal")(x)
    y = layers.Dense(4 * width, kernel_initializer="he_normal")(_norm(y))
    y = layers.Activation("silu")(y)
    y = layers.Dense(width, kernel_initializer="glorot_uniform")(y)
    start = keras.initializers.Constant(layer_scale)
    y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=start)(y)
    if drop:
        y = layers.Dropout(drop, noise_shape=(None, 1, 1, 1))(y)
    return layers.Add()([x, y])
