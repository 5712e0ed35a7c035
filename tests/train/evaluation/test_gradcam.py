from __future__ import annotations

import keras
import numpy as np
import pytest

from mien.errors import UsageError
from mien.train.evaluation.gradcam import grad_cam


def bright_spot_model() -> keras.Model:
    """A network whose second logit is the largest where 4x4 cells are bright, and whose first is minus that."""
    chips = keras.Input((48, 48, 1))
    cells = keras.layers.AveragePooling2D(4)(chips)
    pooled = keras.layers.GlobalAveragePooling2D()(cells)
    dense = keras.layers.Dense(2, use_bias=False)
    model = keras.Model(chips, dense(pooled))
    dense.set_weights([np.array([[-1.0, 1.0]], np.float32)])
    return model


def test_the_map_lies_on_what_raises_the_logit() -> None:
    chip = np.zeros((48, 48), np.uint8)
    chip[32:40, 8:16] = 255
    cam = grad_cam(bright_spot_model(), chip)
    assert cam.shape == (48, 48)
    assert cam.max() == pytest.approx(1, abs=0.05)
    y, x = np.unravel_index(cam.argmax(), cam.shape)
    assert 32 <= y < 40
    assert 8 <= x < 16
    assert cam[:24].max() < 0.1


def test_what_only_lowers_the_logit_is_no_support() -> None:
    chip = np.zeros((48, 48), np.uint8)
    chip[32:40, 8:16] = 255
    assert grad_cam(bright_spot_model(), chip, column=0).max() == 0


def test_a_network_without_feature_maps_is_named() -> None:
    chips = keras.Input((48, 48, 1))
    model = keras.Model(chips, keras.layers.Dense(2)(keras.layers.Flatten()(chips)), name="flat")
    with pytest.raises(UsageError, match="flat has no layer"):
        grad_cam(model, np.zeros((48, 48), np.uint8))
