"""Runs of a tiny network on drawn shapes: curves that repeat, and every way in which a run can end before its time."""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from mien.errors import DataError, DivergedError, MienWarning, TrainingError
from mien.train.data.dataset import VOTE_COLUMNS, Dataset
from mien.train.data.splits import split_rows
from mien.train.loop.checkpoint import RunState, load_state
from mien.train.loop.fit import fit
from mien.train.loop.optimize import should_stop
from mien.train.loop.run_folder import read_history
from tests.train.shapes import SIDE, fit_and_stop, tiny_recipe

EPOCHS = 4


def curve(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows without their times."""
    return [{key: value for key, value in row.items() if key not in {"seconds", "input_wait_share"}} for row in history]


@pytest.fixture(scope="module")
def unbroken(shapes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunState]:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    return run, fit(tiny_recipe(epochs=EPOCHS), shapes, run)


def test_it_learns(unbroken: tuple[Path, RunState]) -> None:
    history = unbroken[1].history
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(row["val_accuracy"] for row in history) > 2 / 7


def test_the_same_seed_gives_the_same_curve(unbroken: tuple[Path, RunState], shapes: Dataset, tmp_path: Path) -> None:
    assert curve(fit(tiny_recipe(epochs=EPOCHS), shapes, tmp_path / "again").history) == curve(unbroken[1].history)


def test_another_seed_gives_another_curve(unbroken: tuple[Path, RunState], shapes: Dataset, tmp_path: Path) -> None:
    other = fit(tiny_recipe(epochs=EPOCHS, seed=1), shapes, tmp_path / "other")
    assert curve(other.history)[0] != curve(unbroken[1].history)[0]


KILLED = """
import os, sys
from pathlib import Path
from mien.train.data.dataset import load
from mien.train.loop.fit import fit
from tests.train.shapes import SIDE, tiny_recipe
data = load(Path(sys.argv[1]), size=SIDE, cache=Path(sys.argv[2]))
fit(tiny_recipe(epochs=int(sys.argv[4])), data, Path(sys.argv[3]), on_epoch=lambda row: print("epoch", row["epoch"], flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    how: signal.Signals, unbroken: tuple[Path, RunState], shapes: Dataset, shapes_dir: Path, tmp_path: Path
) -> None:
    arguments = [str(shapes_dir), str(tmp_path), str(tmp_path / "run"), str(EPOCHS)]
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 2"):
                process.send_signal(how)
    assert process.returncode == -how
    assert 2 <= len(load_state(tmp_path / "run" / "checkpoint.npz").history) < EPOCHS
    state = fit(tiny_recipe(epochs=EPOCHS), shapes, tmp_path / "run", resume=True)
    assert [row["epoch"] for row in state.history] == list(range(1, EPOCHS + 1))
    assert curve(state.history) == curve(unbroken[1].history)
    assert curve(read_history(tmp_path / "run")) == curve(state.history)


def test_a_full_disk_leaves_a_run_that_goes_on(unbroken: tuple[Path, RunState], shapes: Dataset, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(TrainingError, match="make room, then --resume"):
            fit(
                tiny_recipe(epochs=EPOCHS),
                shapes,
                tmp_path / "run",
                on_epoch=lambda row: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard)) if row["epoch"] == 2 else None,
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(load_state(tmp_path / "run" / "checkpoint.npz").history) == 2
    state = fit(tiny_recipe(epochs=EPOCHS), shapes, tmp_path / "run", resume=True)
    assert curve(state.history) == curve(unbroken[1].history)


def test_a_loss_that_is_not_finite_stops_with_the_last_good_weights(shapes: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(**{"frozen.epochs": 1, "optimizer.learning_rate": 1e30, "optimizer.schedule": "constant"})
    with pytest.raises(DivergedError, match=r"in epoch 2; .*model.keras holds the best weights up to epoch 1"):
        fit(recipe, shapes, tmp_path / "run")
    state = load_state(tmp_path / "run" / "checkpoint.npz")
    assert len(state.history) == 1
    assert all(np.isfinite(array).all() for array in state.best)
    logits = keras.models.load_model(tmp_path / "run" / "model.keras")(np.zeros((1, SIDE, SIDE, 1), np.float32))
    assert np.isfinite(keras.ops.convert_to_numpy(logits)).all()


def test_a_folder_that_holds_a_run_is_left_alone(unbroken: tuple[Path, RunState], shapes: Dataset) -> None:
    with pytest.raises(TrainingError, match="already holds a run; add --resume"):
        fit(tiny_recipe(epochs=EPOCHS), shapes, unbroken[0])


@pytest.mark.parametrize(
    ("changes", "split", "says"),
    [
        pytest.param({"epochs": 9}, None, rf"differs in its recipe \(epochs: {EPOCHS} there, 9 here\)", id="recipe"),
        pytest.param({"epochs": EPOCHS}, "holdout", "differs in its validation", id="validation split"),
    ],
)
def test_resuming_something_else_is_refused(
    changes: dict[str, Any], split: str | None, says: str, unbroken: tuple[Path, RunState], shapes: Dataset
) -> None:
    with pytest.raises(TrainingError, match=says):
        fit(tiny_recipe(**changes), shapes, unbroken[0], validation=split, resume=True)


def test_resuming_on_other_data_is_refused(unbroken: tuple[Path, RunState], shapes: Dataset) -> None:
    with pytest.raises(TrainingError, match="differs in its data"):
        fit(tiny_recipe(epochs=EPOCHS), shapes.exclude({shapes.names[-1]}), unbroken[0], resume=True)


def test_resuming_on_images_that_were_changed_under_the_same_names_is_refused(unbroken: tuple[Path, RunState], shapes: Dataset) -> None:
    images = np.asarray(shapes.images).copy()
    images[0, 0, 0] ^= 1
    with pytest.raises(TrainingError, match="differs in its images; use the same"):
        fit(tiny_recipe(epochs=EPOCHS), dataclasses.replace(shapes, images=images), unbroken[0], resume=True)


def test_resuming_on_other_votes_is_refused(shapes: Dataset, tmp_path: Path) -> None:
    votes = np.ones((len(shapes), len(VOTE_COLUMNS)), np.float32)
    recipe = tiny_recipe(**{"epochs": 1, "loss.votes_weight": 0.5})
    fit(recipe, dataclasses.replace(shapes, votes=votes), tmp_path / "run")
    with pytest.raises(TrainingError, match="differs in its votes"):
        fit(recipe, dataclasses.replace(shapes, votes=votes + np.arange(len(VOTE_COLUMNS))), tmp_path / "run", resume=True)
    fit(recipe, dataclasses.replace(shapes, votes=votes), tmp_path / "run", resume=True)


def test_resuming_a_finished_run_changes_nothing(unbroken: tuple[Path, RunState], shapes: Dataset) -> None:
    before = read_history(unbroken[0])
    fit(tiny_recipe(epochs=EPOCHS), shapes, unbroken[0], resume=True)
    assert read_history(unbroken[0]) == before


def test_resuming_takes_recipe_keys_that_came_later_as_their_defaults(shapes: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=1)
    fit(recipe, shapes, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    del config["recipe"]["frozen"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    fit(recipe, shapes, tmp_path / "run", resume=True)


def test_a_damaged_checkpoint_says_so(shapes: Dataset, tmp_path: Path) -> None:
    fit(tiny_recipe(epochs=1), shapes, tmp_path / "run")
    file = tmp_path / "run" / "checkpoint.npz"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="missing or damaged"):
        fit(tiny_recipe(epochs=1), shapes, tmp_path / "run", resume=True)


def test_the_model_file_is_the_best_epoch(unbroken: tuple[Path, RunState], shapes: Dataset) -> None:
    run, state = unbroken
    model = keras.models.load_model(run / "model.keras")
    rows = shapes.rows("public")
    logits = keras.ops.convert_to_numpy(model(shapes.images[rows][..., None].astype(np.float32)))
    assert state.best_row is not None
    assert (logits.argmax(1) == shapes.labels[rows]).mean() == pytest.approx(state.best_row["val_accuracy"])


@pytest.mark.parametrize(
    ("accuracies", "stops"),
    [
        pytest.param([0.5, 0.4, 0.45], True, id="two epochs without a better one"),
        pytest.param([0.5, 0.5, 0.5], True, id="as good is not better"),
        pytest.param([0.5, 0.4], False, id="one epoch"),
        pytest.param([0.5, 0.4, 0.6], False, id="better at the last moment"),
        pytest.param([], False, id="before the first epoch"),
    ],
)
def test_early_stopping_counts_epochs_without_a_better_accuracy(accuracies: list[float], stops: bool) -> None:
    history = [{"epoch": i, "val_accuracy": value} for i, value in enumerate(accuracies, start=1)]
    best = max(history, key=lambda row: row["val_accuracy"], default=None)
    assert should_stop(tiny_recipe(early_stopping=2), history, best) is stops


def test_plateau_lowers_the_learning_rate(shapes: Dataset, tmp_path: Path) -> None:
    changes = {
        "optimizer.schedule": "plateau",
        "optimizer.plateau_patience": 1,
        "optimizer.plateau_factor": 0.1,
        "optimizer.learning_rate": 2.0,
    }
    rates = [row["learning_rate"] for row in fit(tiny_recipe(epochs=5, **changes), shapes, tmp_path / "run").history]
    assert min(rates) < rates[0]
    assert rates == sorted(rates, reverse=True)


def test_the_frozen_phase_trains_the_heads_alone(shapes: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(**{"epochs": 1, "frozen.epochs": 1, "ema": 0})
    trained = fit(recipe, shapes, tmp_path / "run").weights
    keras.utils.set_random_seed(recipe.seed)
    from mien.train.models import build_model

    build_model(recipe, 7)  # the one that scores is made first
    model = build_model(recipe, 7)
    changed = {v.path for v, after in zip(model.weights, trained, strict=True) if not np.array_equal(keras.ops.convert_to_numpy(v), after)}
    assert changed == {"emotion/kernel", "emotion/bias"}


@pytest.mark.parametrize("optimizer", [pytest.param("sgd", id="sgd"), pytest.param("muon", id="muon")])
def test_resuming_across_the_end_of_the_frozen_phase(optimizer: str, shapes: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(**{"epochs": 3, "frozen.epochs": 1, "optimizer.name": optimizer})
    whole = fit(recipe, shapes, tmp_path / "whole")
    for _ in range(2):
        fit_and_stop(recipe, shapes, tmp_path / "parts")
    assert curve(fit(recipe, shapes, tmp_path / "parts", resume=True).history) == curve(whole.history)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"precision": "mixed_bfloat16"}, id="mixed precision"),
        pytest.param({"optimizer.name": "adamw", "optimizer.clip_norm": 1.0}, id="adamw with clipping"),
        pytest.param({"optimizer.name": "adam", "optimizer.weight_decay": 0, "loss.l2": 1e-4}, id="adam with l2"),
        pytest.param({"optimizer.name": "muon", "optimizer.learning_rate": 0.01, "optimizer.weight_decay": 0}, id="muon"),
        pytest.param({"model.options.drop_path": 0.3}, id="stochastic depth"),
        pytest.param({"augment.mixup_alpha": 0.4, "augment.cutmix_alpha": 1.0}, id="mixup and cutmix"),
        pytest.param({"loss.class_weights": True, "loss.label_smoothing": 0.1}, id="class weights"),
        pytest.param({"preprocess": "clahe"}, id="clahe"),
        pytest.param({"augment.crop": 20}, id="crops"),
    ],
)
def test_every_switch_trains(changes: dict[str, Any], shapes: Dataset, tmp_path: Path) -> None:
    (row,) = fit(tiny_recipe(epochs=1, **changes), shapes, tmp_path / "run").history
    assert np.isfinite([row["loss"], row["val_loss"]]).all()


def test_a_run_on_crops_ends_on_whole_chips_and_resumes(shapes: Dataset, tmp_path: Path) -> None:
    recipe = tiny_recipe(**{"epochs": 2, "augment.crop": 16, "augment.mild_last": 0.5})
    whole = fit(recipe, shapes, tmp_path / "whole")
    fit_and_stop(recipe, shapes, tmp_path / "parts")
    resumed = curve(fit(recipe, shapes, tmp_path / "parts", resume=True).history)
    for one, other in zip(resumed, curve(whole.history), strict=True):  # whole chips are traced as a second shape there, as the first here
        assert one == pytest.approx(other, rel=1e-5)
    assert keras.saving.load_model(tmp_path / "whole" / "model.keras").input_shape == (None, SIDE, SIDE, 1)


def test_the_reported_splits_never_choose(shapes: Dataset) -> None:
    for name in ("private", "test"):
        with pytest.raises(DataError, match="kept for the final report"):
            split_rows(shapes, name, seed=0)


def test_holdout_is_a_tenth_of_train_and_follows_the_seed(shapes: Dataset) -> None:
    train, held = split_rows(shapes, "holdout", seed=0)
    assert len(held) == len(shapes.rows("train")) // 10
    assert sorted([*train, *held]) == shapes.rows("train").tolist()
    assert not np.array_equal(held, split_rows(shapes, "holdout", seed=1)[1])


def test_copies_of_a_held_out_image_are_held_out_too(shapes: Dataset) -> None:
    images = np.asarray(shapes.images).copy()
    held = split_rows(shapes, "holdout", seed=0)[1]
    images[shapes.rows("train")[:40]] = images[held[0]]
    data = dataclasses.replace(shapes, images=images)
    train, together = split_rows(data, "holdout", seed=0)
    assert not np.any([np.array_equal(images[row], images[held[0]]) for row in train])
    assert set(together) == {*held, *shapes.rows("train")[:40]}
    assert sorted([*train, *together]) == shapes.rows("train").tolist()


def test_nothing_but_copies_leaves_nothing_to_train_on(shapes: Dataset) -> None:
    data = dataclasses.replace(shapes, images=np.zeros_like(shapes.images))
    with pytest.raises(DataError, match="0 training and"):
        split_rows(data, "holdout", seed=0)


def test_a_missing_split_is_an_error(shapes: Dataset) -> None:
    with pytest.raises(DataError, match="0 'val' images"):
        split_rows(shapes, "val", seed=0)


def test_an_epoch_of_a_step_or_two_is_remarked_on(shapes: Dataset, tmp_path: Path) -> None:
    images = int((shapes.splits == "train").sum())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", MienWarning)
        fit(tiny_recipe(epochs=1, batch_size=images), shapes, tmp_path / "run")
    (said,) = [str(warning.message) for warning in seen if warning.category is MienWarning]
    assert f"{images} training images in batches of {images} are 1 step an epoch" in said
    assert "--set batch_size=10 gives 16" in said
