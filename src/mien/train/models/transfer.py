"""Family ``transfer``: a backbone with ImageNet weights, its normalisation inside the graph, and a new head."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from mien.errors import RecipeError
from mien.train.models import efficientnet_lite
from mien.train.models.entry import enlarged
from mien.train.models.torch_file import read_state_dict

Convention = Literal["keras", "torch"]
# name -> (name in keras.applications or our own, the input format of its weights)
BACKBONES = {
    "vgg16": ("VGG16", "bgr"),
    "resnet50": ("ResNet50", "bgr"),
    "efficientnet_v2_b0": ("EfficientNetV2B0", "imagenet"),
    "mobilenet_v2": ("MobileNetV2", "unit"),
    "efficientnet_lite0": ("lite0", "lite"),
    "efficientnet_lite1": ("lite1", "lite"),
    "efficientnet_lite2": ("lite2", "lite"),
}
# (mean, standard deviation) per channel, in grey levels of 0..255
NORMALIZATIONS = {
    "bgr": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "unit": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "lite": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
}
# Backbones whose weights may be a PyTorch state dict
TORCH_BACKBONES = ("mobilenet_v2", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
TORCH_EPSILON = 1e-5  # of torchvision's batch norms; Keras's MobileNetV2 has 1e-3


def build(
    size: int, channels: int, *, backbone: str, side: int | None = None, convention: Convention = "keras", dropout: float = 0.3
) -> keras.Model:
    """Return the trunk: chips (N, size, size, channels) float32 in 0..255 -> pooled features of the backbone.

    Args:
        size: side of the chip in pixels.
        channels: 1 (grey, repeated to RGB inside the graph) or 3 (RGB).
        backbone: a name in :data:`BACKBONES`.
        side: side in pixels to which the graph enlarges the chip; by default the chip's own side.
        convention: ``keras`` for Keras's weights; ``torch`` for a PyTorch file of MobileNetV2 or EfficientNet-Lite. Torchvision's
            MobileNetV2 uses another normalisation. Its padding equals that of Keras only if the input of every strided layer has an
            odd side, so use a side of 97, 129, 193 or 225.
        dropout: rate before the head.
    """
    _check(backbone, convention)
    side = side or size
    torchvision = convention == "torch" and backbone == "mobilenet_v2"
    if torchvision and (side - 1) % 32:
        raise RecipeError(f"convention 'torch' needs model.options.side = 32 n + 1 for mobilenet_v2, for example 97; got {side}")
    name, wants = BACKBONES[backbone]
    wants = "imagenet" if torchvision else wants
    chips = keras.Input((size, size, channels), name="chips")
    x = layers.Concatenate(name="rgb")([chips] * 3) if channels == 1 else chips
    x = enlarged(x, side)
    if wants == "bgr":
        x = keras.ops.flip(x, axis=-1)  # torch does not support a slice with a negative step
    mean, deviation = NORMALIZATIONS[wants]  # not the layer Normalization, see `enlarged`
    x = (x - np.array(mean, np.float32)) / np.array(deviation, np.float32)
    if wants == "lite":
        features = efficientnet_lite.features(x, name)
    else:
        network = _application(name, input_tensor=x, weights=None)
        features = network.output
    if torchvision:
        for layer in network.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.epsilon = TORCH_EPSILON
    return keras.Model(chips, layers.Dropout(dropout)(features), name=backbone)


def load_weights(model: keras.Model, weights: str, *, backbone: str, convention: Convention = "keras", **_: Any) -> None:
    """Load weights into the backbone inside ``model``.

    Args:
        model: a network on the trunk that :func:`build` made with the same options.
        weights: ``imagenet`` (Keras downloads them once), a Keras ``.h5`` file without the top layers, or a PyTorch ``.pth`` file of
            torchvision's MobileNetV2 or of EfficientNet-Lite.
        backbone: see :func:`build`.
        convention: see :func:`build`; ``torch`` for a ``.pth`` file.

    Raises:
        RecipeError: the file does not exist, the download fails, or the weights belong to another network.
    """
    _check(backbone, convention)
    if weights != "imagenet" and not Path(weights).is_file():
        raise RecipeError(f"model.weights: no file at {weights}; give 'imagenet', 'none' or a weights file")
    if (Path(weights).suffix in {".pth", ".pt"}) != (convention == "torch"):
        raise RecipeError(f"model.weights {weights!r} does not go with model.options.convention = {convention!r}; .pth files need 'torch'")
    if convention == "torch":
        _load_torch(model, read_state_dict(Path(weights)), backbone)
        return
    if BACKBONES[backbone][1] == "lite":
        raise RecipeError(f"Keras has no weights of {backbone}; give a .pth file and model.options.convention = 'torch'")
    try:
        donor = _application(BACKBONES[backbone][0], input_shape=(224, 224, 3), weights=weights)
    except Exception as error:  # keras raises bare exceptions for a failed download and for a file of another network
        raise RecipeError(f"cannot load {weights!r} into {backbone}: {error}") from error
    for layer in donor.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def _check(backbone: str, convention: str) -> None:
    if backbone not in BACKBONES:
        raise RecipeError(f"unknown backbone {backbone!r}; known are {', '.join(BACKBONES)}")
    if convention not in ("keras", "torch") or (convention == "torch" and backbone not in TORCH_BACKBONES):
        raise RecipeError(f"convention must be 'keras', or 'torch' for {', '.join(TORCH_BACKBONES)}; got {convention!r} for {backbone}")


def _application(name: str, **options: Any) -> keras.Model:
    if name.startswith("EfficientNetV2"):
        options["include_preprocessing"] = False
    return getattr(keras.applications, name)(include_top=False, pooling="avg", **options)


def _load_torch(model: keras.Model, arrays: dict[str, NDArray[Any]], backbone: str) -> None:
    """Copy the arrays into the layers, which have the same order. The last linear layer is left out."""
    queue = [
        array for name, array in arrays.items() if not name.startswith(("classifier.", "_fc.")) and not name.endswith("num_batches_tracked")
    ]
    targets = [layer for layer in model.layers if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, layers.BatchNormalization))]
    for layer in targets:
        taken = [queue.pop(0) for _ in layer.weights if queue]
        if isinstance(layer, layers.DepthwiseConv2D):
            taken = [np.transpose(array, (2, 3, 0, 1)) if array.ndim == 4 else array for array in taken]  # (C, 1, H, W) -> (H, W, C, 1)
        elif isinstance(layer, layers.Conv2D):
            taken = [
                np.transpose(array, (2, 3, 1, 0)) if array.ndim == 4 else array for array in taken
            ]  # (out, in, H, W) -> (H, W, in, out)
        expected, got = [tuple(v.shape) for v in layer.weights], [array.shape for array in taken]
        if expected != got:
            raise RecipeError(f"these are not PyTorch weights of {backbone}: layer {layer.name} takes {expected}, the file has {got}")
        layer.set_weights(taken)
    if queue:
        raise RecipeError(f"these are not PyTorch weights of {backbone}: {len(queue)} arrays are left over")
