"""Merges several runs with a common start into one network with the mean of their weights.

That network costs no more than one of them. It makes fewer errors if the runs separated late (Wortsman et al. 2022, arXiv:2203.05482).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mien.errors import TrainingError, UsageError
from mien.train.loop.checkpoint import RunState, load_state, save_state
from mien.train.loop.fit import export_keras
from mien.train.loop.run_folder import CHECKPOINT, CONFIG, ENVIRONMENT, MODEL, read_run, write_history, write_json
from mien.train.loop.trained import read_config


def average_weights(runs: Sequence[Path], out: Path) -> Path:
    """Write a run folder whose network has the mean of the best weights of ``runs``, and return its ``model.keras``.

    Every command that takes a run of ``mien train`` takes this folder, but the run cannot be resumed. Its history holds the rows of all
    runs, and ``member`` names the run of each row.

    Raises:
        UsageError: ``out`` exists, there are fewer than two runs, or the runs have different networks or different data.
        TrainingError: a run has no finished epoch, or a folder is not a run folder.
    """
    if len(runs) < 2:
        raise UsageError("the mean of weights needs two runs or more")
    if out.exists():
        raise UsageError(f"{out} is there already; choose another folder")
    recipe, labels = read_config(runs[0])
    configs = [read_run(run).config for run in runs]
    for key in ("labels", "data", "validation", "excluded"):
        if any(config.get(key) != configs[0].get(key) for config in configs):
            raise UsageError(f"{', '.join(map(str, runs))} differ in their {key}; the mean of weights needs runs on the same images")
    if configs[0].get("validation") == "holdout" and len({config["recipe"]["seed"] for config in configs}) > 1:
        raise UsageError(f"{', '.join(map(str, runs))} held back other images, as their seeds differ; give --validation, or the same seed")
    states = [load_state(run / CHECKPOINT) for run in runs]
    if unfinished := [run for run, state in zip(runs, states, strict=True) if not state.history]:
        raise TrainingError(f"{unfinished[0]} has not finished an epoch yet")
    if len({tuple(array.shape for array in state.best) for state in states}) > 1:
        raise UsageError(f"the networks of {', '.join(map(str, runs))} differ; the mean of weights needs runs of one network")
    together = zip(*(state.best for state in states), strict=True)
    mean = [np.asarray(np.mean(arrays, axis=0, dtype=np.float64), np.float32) for arrays in together]
    history = [{"member": run.name, **row} for run, state in zip(runs, states, strict=True) for row in state.history]
    out.mkdir(parents=True)
    write_json(out / CONFIG, configs[0])
    write_json(out / ENVIRONMENT, read_run(runs[0]).environment)
    write_history(out, history)
    save_state(out / CHECKPOINT, RunState(mean, [], [], mean, mean, history=history))
    export_keras(recipe, labels, mean, out / MODEL)
    return out / MODEL
