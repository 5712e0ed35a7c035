"""Grad-CAM of a Keras network: shows which parts of a chip support a label in the last feature map."""

from __future__ import annotations

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError
from mien.train.loop.batches import to_input


def grad_cam(model: keras.Model, chip: NDArray[np.uint8], column: int | None = None) -> NDArray[np.float64]:
    """Return how much each pixel of a chip supports a label, (S, S) in [0, 1]. The strongest pixel has 1.

    The channels of the last feature map are weighted by the mean gradient of the label's logit and summed. The positive part is enlarged
    to the chip. Source: Selvaraju et al. 2017, arXiv:1610.02391.

    Args:
        model: chips (N, S, S, C) -> logits (N, labels), as :func:`mien.train.loop.trained.inference_model` returns it.
        chip: uint8 (S, S) or (S, S, 3).
        column: index of the label; None takes the label with the highest logit.

    Raises:
        UsageError: the backend of Keras is not TensorFlow, or the network has no feature map.
    """
    if keras.backend.backend() != "tensorflow":
        raise UsageError(f"Grad-CAM takes TensorFlow's gradients, this is {keras.backend.backend()}; run it with KERAS_BACKEND=tensorflow")
    import tensorflow as tf

    inner = [layer.output for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    maps = [output for output in inner if output.ndim == 4 and output.shape[1] > 1]
    if not maps:
        raise UsageError(f"{model.name} has no layer whose output is a feature map (N, H, W, channels)")
    both = keras.Model(model.input, [maps[-1], model.output])
    inputs = tf.convert_to_tensor(to_input(chip[None]))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        features, logits = both(inputs, training=False)
        picked = int(np.argmax(logits[0])) if column is None else column
        score = logits[:, picked]
    weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
    cam = np.maximum(np.asarray(tf.reduce_sum(weights * features, -1))[0], 0)
    enlarged = cv2.resize(cam / (cam.max() or 1), chip.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(np.asarray(enlarged, np.float64), 0, 1)
