"""Torch's own batch normalisation against Keras's; in a process of its own, because Keras chooses its backend once."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.train.loop.test_backends import needs

COMPARE = """
import json
import keras
import numpy as np
from mien.train.models.torch_norm import fuse_norms

def network():
    keras.utils.set_random_seed(1)
    inner = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(momentum=0.8)])
    frozen = keras.layers.BatchNormalization(trainable=False)
    model = keras.Sequential([keras.Input((6, 6, 3)), inner, frozen, keras.layers.Flatten(), keras.layers.BatchNormalization()])
    model.compile(keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    return model

plain, fused = network(), network()
fuse_norms(fused)
random = np.random.default_rng(0)
for _ in range(3):
    x, y = random.normal(5, 3, (64, 6, 6, 3)), random.normal(size=(64, 64))
    losses = [float(model.train_on_batch(x, y)) for model in (plain, fused)]
apart = [float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(plain.get_weights(), fused.get_weights())]
answers = [model.predict_on_batch(x) for model in (plain, fused)]
print(json.dumps({"losses": losses, "apart": max(apart), "answers": float(np.abs(answers[0] - answers[1]).max())}))
"""


@pytest.mark.slow
def test_training_goes_the_same_way() -> None:
    needs("torch")
    done = subprocess.run(
        [sys.executable, "-c", COMPARE],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["losses"][1] == pytest.approx(found["losses"][0], rel=1e-4)
    # The running variance of 64 rows differs by 1/63 of what each step adds.
    assert found["apart"] < 0.1
    assert found["answers"] < 0.05
