"""Family ``face``: a residual network that starts with the weights of a face recognition network.

The layers are those of dlib's face recognition network (King 2017; a ResNet-34 with half the width and five blocks fewer; public domain,
CC0). Training can therefore start with its weights, which were learned from three million faces.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from mien.errors import RecipeError
from mien.train.models.dlib_file import Convolution, read_convolutions
from mien.train.models.entry import enlarged, standardized
from mien.train.models.predict import predict

# (channels, blocks) of each stage; every stage except the first halves the side in its first block
STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
# A chip of mean 0 and variance 1, multiplied by this, has the contrast of dlib's training photos, in grey levels / 256.
CONTRAST = 0.234


def build(size: int, channels: int, *, side: int = 99, blocks: int = 13, dropout: float = 0.4, drop_path: float = 0.0) -> keras.Model:
    """Return the trunk: chips (N, size, size, channels) float32 in 0..255 -> features (N, 256 with 11 blocks or more).

    Args:
        size: side of the chip in pixels.
        channels: 1; the three colour channels of the weights are summed for grey.
        side: side in pixels to which the graph enlarges the chip; dlib used 150.
        blocks: number of residual blocks to keep, 1 to 14.
        dropout: rate before the head.
        drop_path: rate at which training leaves out the last residual branch; the rate rises linearly from 0 at the first branch.

    Raises:
        RecipeError: ``channels`` is not 1, or ``blocks`` is out of range.
    """
    plan = [(width, 2 if stage and not block else 1) for stage, (width, depth) in enumerate(STAGES) for block in range(depth)]
    if channels != 1 or not 1 <= blocks <= len(plan):
        raise RecipeError(f"family 'face' takes 1 channel and 1 to {len(plan)} blocks; got {channels} and {blocks}")
    chips = keras.Input((size, size, channels), name="chips")
    x = enlarged(standardized(chips), side)
    x = _conv(x, 32, "stem", kernel=7, stride=2)
    x = layers.MaxPooling2D(3, 2)(x)
    rates = np.linspace(0, drop_path, blocks).tolist()
    for index, (width, stride) in enumerate(plan[:blocks]):
        x = _residual(x, width, stride, f"block{index}", rates[index])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(chips, layers.Dropout(dropout)(x), name="face")


def load_weights(model: keras.Model, weights: str, *, chips: NDArray[np.uint8], **_: Any) -> None:
    """Fill the network from dlib's ``dlib_face_recognition_resnet_model_v1.dat`` (in the pip package ``face-recognition-models``).

    In dlib's file, the batch norms are folded into affine maps. Each norm therefore gets the statistics of ``chips`` at its place, and
    the scale and offset that cancel them. So the network starts as the same function as dlib's, and its norms work in training.

    Args:
        model: a network on the trunk that :func:`build` made.
        weights: the file.
        chips: a few hundred training chips, uint8 (N, size, size).

    Raises:
        RecipeError: the file does not exist or holds weights of another network.
    """
    if not Path(weights).is_file():
        raise RecipeError(f"model.weights: no file at {weights}; give 'none' or dlib_face_recognition_resnet_model_v1.dat")
    donors = read_convolutions(Path(weights))
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    if len(donors) < len(norms):
        raise RecipeError(
            f"these are not dlib's face recognition weights: the network has {len(norms)} convolutions, the file {len(donors)}"
        )
    values = np.asarray(chips, np.float32)[..., None]
    for norm, source in zip(norms, donors, strict=False):
        convolution = model.get_layer(norm.name.removesuffix("_norm"))
        kernel = _grey(source.kernel) if norm.name == "stem_norm" else source.kernel
        if kernel.shape != tuple(convolution.kernel.shape):
            wanted = tuple(convolution.kernel.shape)
            raise RecipeError(
                f"these are not dlib's face recognition weights: {convolution.name} takes {wanted}, the file has {kernel.shape}"
            )
        convolution.set_weights([kernel])
        before = keras.Model(model.input, convolution.output)
        before.run_eagerly = True  # the network runs only once, so compiling it costs more than it saves
        answers = predict(before, values, batch=64)
        _melt(norm, source, answers.mean((0, 1, 2)), answers.var((0, 1, 2)))


def _melt(norm: layers.BatchNormalization, source: Convolution, mean: NDArray[np.float64], variance: NDArray[np.float64]) -> None:
    """Set ``norm`` so that, with these statistics, it equals the bias and the affine map of ``source``."""
    gamma = source.gamma * np.sqrt(variance + norm.epsilon)
    beta = source.beta + source.gamma * (source.bias + mean)
    norm.set_weights([gamma, beta, mean, variance])


def _grey(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(kernel.sum(2, keepdims=True) * CONTRAST, np.float32)


def _conv(x: keras.KerasTensor, width: int, name: str, kernel: int = 3, stride: int = 1, relu: bool = True) -> keras.KerasTensor:
    padding = "valid" if stride > 1 else "same"
    x = layers.Conv2D(width, kernel, stride, padding=padding, use_bias=False, kernel_initializer="he_normal", name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.ReLU()(x) if relu else x


def _residual(x: keras.KerasTensor, width: int, stride: int, name: str, drop: float) -> keras.KerasTensor:
    shortcut = layers.AveragePooling2D(stride)(x) if stride > 1 else x
    x = _conv(x, width, f"{name}_a", stride=stride)
    x = _conv(x, width, f"{name}_b", relu=False)
    if short := shortcut.shape[1] - x.shape[1]:  # for an even side, the strided convolution returns one row and one column less
        x = layers.ZeroPadding2D(((0, short), (0, short)))(x)
    if more := width - shortcut.shape[-1]:
        shortcut = keras.ops.pad(shortcut, ((0, 0), (0, 0), (0, 0), (0, more)))
    if drop:
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1))(x)
    return layers.ReLU()(layers.Add()([x, shortcut]))
