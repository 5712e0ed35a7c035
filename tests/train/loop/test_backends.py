"""The same loop under every Keras backend; each in its own process, because Keras chooses its backend once."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
# The networks are tiny: under JAX, compiling them is nearly all the work there is.
QUICK_COMPILING = "--xla_backend_optimization_level=0"
ONE_EPOCH = """
import json, os, sys, warnings
from pathlib import Path
from mien.train.data.dataset import load
from mien.train.loop.fit import fit
from tests.train.shapes import SIDE, tiny_recipe
folder, out, devices, changes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
data = load(folder, size=SIDE, cache=out)
recipe = tiny_recipe(**{"epochs": 1, **changes})
for _ in range(2):  # the second call continues a run that is finished
    state = fit(recipe, data, out / "run", resume=True, devices=devices)
print(json.dumps(state.history))
"""
RESUMED = """
import json, sys
from pathlib import Path
from mien.train.data.dataset import load
from mien.train.loop.fit import fit
from tests.train.shapes import SIDE, fit_and_stop, tiny_recipe
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
data, recipe = load(folder, size=SIDE, cache=out), tiny_recipe(**{"epochs": 3, "model.options.dropout": 0.5})
whole = fit(recipe, data, out / "whole")
fit_and_stop(recipe, data, out / "parts")
parts = fit(recipe, data, out / "parts", resume=True)
print(json.dumps([[row["loss"], row["val_loss"]] for state in (whole, parts) for row in state.history]))
"""
ONE_ANSWER = """
import json, sys
import keras, numpy as np
from mien.train.models import build_model
from mien.train.recipe import Recipe
model = build_model(Recipe.load(sys.argv[1], **{"model.weights": "none"}), 7)
answer = model(np.full((1, 48, 48, 1), 128, np.float32), training=False)["emotion"]
print(json.dumps(keras.ops.convert_to_numpy(answer).tolist()))
"""


def needs(backend: str) -> None:
    package = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}[backend]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed in this environment; pip install {package} runs this test")


def one_epoch(backend: str, folder: Path, out: Path, devices: int = 1, **changes: Any) -> list[dict[str, Any]]:
    out.mkdir(exist_ok=True)
    flags = f"{QUICK_COMPILING} --xla_force_host_platform_device_count=2"
    settings = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "XLA_FLAGS": flags}
    command = [sys.executable, "-c", ONE_EPOCH, str(folder), str(out), str(devices), json.dumps(changes)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    history: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return history


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_one_epoch(backend: str, shapes_dir: Path, tmp_path: Path) -> None:
    needs(backend)
    (row,) = one_epoch(backend, shapes_dir, tmp_path)
    assert np.isfinite([row["loss"], row["val_loss"]]).all()
    assert (tmp_path / "run" / "model.keras").is_file()


@pytest.mark.slow
def test_a_resumed_run_under_torch_draws_the_dropout_of_an_unbroken_one(shapes_dir: Path, tmp_path: Path) -> None:
    needs("torch")
    command = [sys.executable, "-c", RESUMED, str(shapes_dir), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "KERAS_BACKEND": "torch"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    curves = json.loads(done.stdout.splitlines()[-1])
    assert len(curves) == 6
    assert curves[3:] == curves[:3]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
@pytest.mark.parametrize("name", ["vgg16", "efficientnet_lite"])
def test_an_imagenet_backbone_answers_under_every_backend(name: str, backend: str) -> None:
    needs(backend)
    command = [sys.executable, "-c", ONE_ANSWER, name]
    env = {**os.environ, "KERAS_BACKEND": backend, "XLA_FLAGS": QUICK_COMPILING}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.isfinite(json.loads(done.stdout.splitlines()[-1])).all()


@pytest.mark.slow
def test_two_devices_have_the_loss_of_one(shapes_dir: Path, tmp_path: Path) -> None:
    needs("jax")
    changes = {"epochs": 2, "model.options.dropout": 0.0}  # dropout draws its own numbers on each device
    one, two = (one_epoch("jax", shapes_dir, tmp_path / str(n), devices=n, **changes) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-3)
        assert b["val_loss"] == pytest.approx(a["val_loss"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "devices", "says"),
    [
        pytest.param("tensorflow", 2, "needs the JAX backend", id="another backend"),
        pytest.param("jax", 3, "JAX sees 2", id="too many"),
    ],
)
def test_devices_that_are_not_there(backend: str, devices: int, says: str, shapes_dir: Path, tmp_path: Path) -> None:
    needs(backend)
    with pytest.raises(AssertionError, match=says):
        one_epoch(backend, shapes_dir, tmp_path, devices=devices, batch_size=30)
