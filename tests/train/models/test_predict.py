from __future__ import annotations

import keras
import numpy as np
import pytest

from mien.train.models.predict import predict


@pytest.fixture
def network() -> keras.Model:
    chips = keras.Input((2, 2, 1))
    flat = keras.layers.Flatten()(chips)
    total = keras.ops.sum(flat, axis=1, keepdims=True)
    return keras.Model(chips, {"emotion": total, "votes": -total})


def test_every_chip_is_answered_once_and_in_order(network: keras.Model) -> None:
    chips = np.arange(7, dtype=np.float32)[:, None, None, None] * np.ones((7, 2, 2, 1), np.float32)
    answers = predict(network, chips, "votes", batch=3)
    assert answers.dtype == np.float64
    assert answers[:, 0].tolist() == [-4 * n for n in range(7)]


def test_a_network_with_one_output_needs_no_head(network: keras.Model) -> None:
    single = keras.Model(network.input, network.output["emotion"])
    assert predict(single, np.ones((2, 2, 2, 1), np.float32)).tolist() == [[4.0], [4.0]]
