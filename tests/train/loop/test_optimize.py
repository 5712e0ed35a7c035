"""Muon for convolutions, as its definition has it; the learning rate by epoch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from mien.train.loop.optimize import KernelMuon, compile_for
from mien.train.models import build_model
from tests.train.shapes import tiny_recipe

RATE = 0.01


def moved(variable: keras.Variable, gradient: np.ndarray, **options: Any) -> np.ndarray:
    """Return what one step subtracts from ``variable``."""
    optimizer = KernelMuon(RATE, **{"weight_decay": None, "adam_weight_decay": None, **options})
    before = keras.ops.convert_to_numpy(variable).copy()
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return before - keras.ops.convert_to_numpy(variable)


@pytest.mark.parametrize("iterate_in", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [pytest.param((3, 3, 8, 16), id="taller than wide"), pytest.param((1, 1, 8, 64), id="wider than tall")])
def test_a_kernel_moves_equally_far_in_every_direction(shape: tuple[int, ...], iterate_in: str) -> None:
    random = np.random.default_rng(0)
    strong = np.where(np.arange(shape[-1]) == 0, 100.0, 1.0)  # one output whose gradient would rule every other optimiser's step
    gradient = (random.normal(size=shape) * strong).astype(np.float32)
    step = moved(keras.Variable(np.zeros(shape, np.float32)), gradient * 1e-6, iterate_in=iterate_in)
    exact = moved(keras.Variable(np.zeros(shape, np.float32)), gradient * 1e-6)
    assert np.array_equal(step, exact) is (iterate_in == "float32"), "bfloat16 has fewer digits"
    values = np.linalg.svd(step.reshape(-1, shape[-1]), compute_uv=False) / (RATE * 0.2 * np.sqrt(max(np.prod(shape[:-1]), shape[-1])))
    assert values.min() > 0.3  # Newton and Schulz's five iterations end in a band around 1
    assert values.max() < 1.3


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((16,), id="bias"),
        pytest.param((8, 7), id="head"),
        pytest.param((5, 5, 1, 8), id="stem"),
        pytest.param((3, 3, 8, 1), id="depthwise"),
    ],
)
def test_the_rest_moves_as_adamw_does(shape: tuple[int, ...]) -> None:
    gradient = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    assert moved(keras.Variable(np.ones(shape, np.float32)), gradient) == pytest.approx(RATE * np.sign(gradient), rel=0.01)  # epsilon


def test_the_second_step_goes_where_momentum_of_nesterov_points() -> None:
    first, second = np.random.default_rng(2).normal(size=(2, 3, 3, 4, 8)).astype(np.float32)
    kernel = keras.Variable(np.zeros((3, 3, 4, 8), np.float32))
    optimizer = KernelMuon(RATE, weight_decay=None, momentum=0.9)
    optimizer.apply([keras.ops.convert_to_tensor(first)], [kernel])
    before = keras.ops.convert_to_numpy(kernel).copy()
    optimizer.apply([keras.ops.convert_to_tensor(second)])
    step = (before - keras.ops.convert_to_numpy(kernel)).reshape(-1, 8)
    u, _, v = np.linalg.svd((second + 0.9 * (second + 0.9 * first)).reshape(-1, 8), full_matrices=False)
    alike = np.sum(step * (u @ v)) / np.linalg.norm(step) / np.linalg.norm(u @ v)
    assert alike > 0.97  # the exact direction; without Nesterov, or without momentum, it is 0.9 and less


def test_a_kernel_decays() -> None:
    kernel = keras.Variable(np.ones((3, 3, 4, 4), np.float32))
    assert moved(kernel, np.zeros((3, 3, 4, 4), np.float32), weight_decay=0.1) == pytest.approx(RATE * 0.1, rel=1e-4)


@pytest.mark.parametrize(("precision", "iterate_in"), [("float32", "float32"), ("mixed_bfloat16", "bfloat16")])
def test_the_recipes_precision_is_the_iterations(precision: str, iterate_in: str) -> None:
    recipe = tiny_recipe(**{"precision": precision, "optimizer.name": "muon", "optimizer.learning_rate": 0.005})
    model = build_model(recipe, 2)
    compile_for(model, recipe, 0, steps=10)
    assert model.optimizer.iterate_in == iterate_in
    assert model.optimizer.get_config()["iterate_in"] == iterate_in


def test_the_rate_rises_stands_and_falls() -> None:
    recipe = tiny_recipe(**{"epochs": 9, "optimizer.learning_rate": 0.5, "optimizer.warmup_epochs": 1, "optimizer.hold": 0.5})
    model = build_model(recipe, 2)
    compile_for(model, recipe, 0, steps=10)
    rates = []
    for epoch in (0, 0.5, 1, 3, 5, 7, 9):
        model.optimizer.iterations.assign(round(epoch * 10))
        rates.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
    assert rates == pytest.approx([0.005, 0.2525, 0.5, 0.5, 0.5, 0.25, 0], abs=1e-6)
