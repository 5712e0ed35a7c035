"""A sharpness-aware step takes the gradient where the loss is higher, and leaves the weights as they were."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from mien.errors import UsageError
from mien.train.data.dataset import Dataset
from mien.train.loop.batches import Batch, TrainingBatches
from mien.train.loop.fit import fit, trainable
from mien.train.loop.optimize import compile_for
from mien.train.loop.sam import ascend_for
from tests.train.shapes import fit_and_stop, tiny_recipe

RHO = 0.5
PLAIN = {"model.options.dropout": 0.0, "optimizer.sam_rho": RHO}


@pytest.fixture(scope="module")
def batch(shapes: Dataset) -> Batch:
    return next(TrainingBatches(shapes, shapes.rows("train"), tiny_recipe(**PLAIN)).epoch(0))


@pytest.fixture
def model(shapes: Dataset) -> keras.Model:
    recipe = tiny_recipe(**PLAIN)
    keras.utils.set_random_seed(0)
    network = trainable(recipe, len(shapes.label_names))
    compile_for(network, recipe, 0, steps=10)
    return network


def weights_of(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in model.trainable_variables]


def loss_of(model: keras.Model, batch: Batch) -> float:
    return float(
        keras.ops.convert_to_numpy(model.compute_loss(batch.chips, batch.targets, model(batch.chips, training=True), batch.weights))
    )


def test_the_loss_rises_as_its_gradient_says_and_the_weights_come_back(model: keras.Model, batch: Batch) -> None:
    before, level = weights_of(model), loss_of(model, batch)
    with ascend_for(model, RHO)(batch.chips, batch.targets, batch.weights):
        steps = [after - start for after, start in zip(weights_of(model), before, strict=True)]
        uphill = loss_of(model, batch) - level
    assert all(after == pytest.approx(start, abs=1e-5) for after, start in zip(weights_of(model), before, strict=True))
    assert uphill > 0

    # The steepest of all directions whose steps, measured in sizes of the weights, are RHO long.
    sizes = [np.where(start == 0, np.inf, start) for start in before]
    assert np.sqrt(sum(((step / size) ** 2).sum() for step, size in zip(steps, sizes, strict=True))) == pytest.approx(RHO, rel=1e-3)
    random = np.random.default_rng(0)
    for _ in range(5):
        direction = [random.normal(size=start.shape) for start in before]
        length = np.sqrt(sum((d**2).sum() for d in direction))
        for variable, start, d in zip(model.trainable_variables, before, direction, strict=True):
            variable.assign(start + np.abs(start) * d * RHO / length)
        assert loss_of(model, batch) - level < uphill / 2


def test_weights_that_are_frozen_stay(model: keras.Model, batch: Batch) -> None:
    recipe = tiny_recipe(**{**PLAIN, "frozen.epochs": 1, "epochs": 2})
    compile_for(model, recipe, 0, steps=10)
    before = {variable.path: keras.ops.convert_to_numpy(variable).copy() for variable in model.weights if "moving" not in variable.path}
    with ascend_for(model, RHO)(batch.chips, batch.targets, batch.weights):
        after = {variable.path: keras.ops.convert_to_numpy(variable).copy() for variable in model.weights if variable.path in before}
    moved = {path for path, start in before.items() if not np.array_equal(start, after[path])}
    assert moved == {"emotion/kernel"}  # its bias starts at zero


def test_a_run_of_such_steps_ends_elsewhere_and_resumes(shapes: Dataset, tmp_path: Any) -> None:
    recipe = tiny_recipe(**{**PLAIN, "epochs": 2, "frozen.epochs": 1})
    sharp = fit(recipe, shapes, tmp_path / "sharp")
    plain = fit(tiny_recipe(**{**PLAIN, "epochs": 2, "frozen.epochs": 1, "optimizer.sam_rho": 0}), shapes, tmp_path / "plain")
    assert not np.array_equal(sharp.weights[0], plain.weights[0])
    fit_and_stop(recipe, shapes, tmp_path / "parts")
    resumed = fit(recipe, shapes, tmp_path / "parts", resume=True)
    for one, other in zip(resumed.weights, sharp.weights, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_several_devices_are_refused(shapes: Dataset, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="sam_rho trains on one device"):
        fit(tiny_recipe(**PLAIN), shapes, tmp_path / "run", devices=2)
