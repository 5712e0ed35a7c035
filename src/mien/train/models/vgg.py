"""Family ``vgg``: a large teacher with plain 3x3 convolutions. Train it on an accelerator.

It is the form of VGG (Simonyan & Zisserman 2015, arXiv:1409.1556) that is the best of the small published networks on FER2013
(Khaireddin & Chen 2021, arXiv:2105.03588). Batch normalisation is added, and one pooled vector replaces the large dense layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from mien.train.models.entry import standardized


def build(
    size: int | None,
    channels: int,
    *,
    widths: Sequence[int] = (96, 192, 384, 512),
    depths: Sequence[int] = (2, 2, 3, 2),
    stage_dropout: float = 0.1,
    dense: int = 512,
    dropout: float = 0.4,
) -> keras.Model:
    """Return the trunk: chips (N, size, size, channels) float32 in 0..255 -> features (N, dense).

    Args:
        size: side of the chip in pixels; every stage halves it.
        channels: 1 (grey) or 3 (RGB).
        widths: channels of each stage.
        depths: convolutions in each stage.
        stage_dropout: rate of dropping whole channels after each stage.
        dense: width of the last layer before the heads.
        dropout: rate before and after that layer.
    """
    chips = keras.Input((size, size, channels), name="chips")
    x = standardized(chips)
    for width, depth in zip(widths, depths, strict=True):
        for _ in range(depth):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
        x = layers.SpatialDropout2D(stage_dropout)(layers.MaxPooling2D(2)(x))
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(dense, use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
    return keras.Model(chips, layers.Dropout(dropout)(x), name="vgg")
