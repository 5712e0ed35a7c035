"""Runs a campaign in its folder, and continues it where it stopped.

::

    out/
      NET/                     a run folder of mien.train.loop.fit: config, environment, history, checkpoint.npz
        predictions.npz        probabilities of every image, float16 (N, classes) per head, in the order of the data set
        result.json            figures; it is written last, so a net with this file is finished
      ensemble.json            the members chosen on PublicTest
      soft_labels.npz          the targets of the students, for training images only
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.atomic import atomic_write
from mien.errors import DivergedError, TrainingError
from mien.train.campaign.choose import accuracy, choose, final_figures, soft_labels, together
from mien.train.campaign.device_fit import EpochReport, fit_on_device
from mien.train.campaign.network import Network
from mien.train.campaign.plan import Campaign, Net
from mien.train.data.dataset import Dataset, describe, fingerprint
from mien.train.loop.optimize import should_stop
from mien.train.loop.run_folder import CHECKPOINT, CONFIG, ENVIRONMENT, environment, write_history, write_json
from mien.train.recipe import Recipe

OpenData = Callable[[Recipe], Dataset]
RESULT, PREDICTIONS, ENSEMBLE, SOFT_LABELS = "result.json", "predictions.npz", "ensemble.json", "soft_labels.npz"
START_S = 45.0  # with less time left, no net is started, because compiling would use up the time


@dataclass(frozen=True)
class Piece:
    """The inputs of one call of :func:`advance`. ``deadline`` is a value of ``time.monotonic()``."""

    campaign: Campaign
    open_data: OpenData
    out: Path
    deadline: float = float("inf")
    on_epoch: EpochReport | None = None


def advance(piece: Piece, *, skip_unfinished: bool = False) -> bool:
    """Train until everything is done or the time is over. Return whether everything is done.

    Args:
        piece: campaign, data, folder and deadline.
        skip_unfinished: leave out members that are not finished, choose among the others and train the students now.

    Raises:
        TrainingError: the folder holds nets with other recipes or other data.
    """
    members, out = piece.campaign.members, piece.out
    if not skip_unfinished:
        for net in members:
            _train(piece, net)
        if not all((out / net.name / RESULT).exists() for net in members):
            return False
    finished = {name: values["emotion"] for name, values in predictions(members, out).items()}
    data = piece.open_data(members[0].load_recipe())
    chosen = choose(finished, data)
    ensemble = together([finished[name] for name in chosen], data)
    rows = data.rows("public")
    write_json(out / ENSEMBLE, {"members": chosen, "public": accuracy(ensemble[rows], data.labels[rows])})
    soft = soft_labels(ensemble, data)
    named: dict[str, Any] = {
        "probabilities": soft.astype(np.float16),
        "names": np.asarray(data.names),
        "labels": np.asarray(data.label_names),
    }
    _save(out / SOFT_LABELS, lambda file: np.savez(file, **named))
    for net in piece.campaign.students:
        _train(piece, net, soft)
    return all((out / net.name / RESULT).exists() for net in piece.campaign.students)


def predictions(nets: tuple[Net, ...], out: Path) -> dict[str, dict[str, NDArray[np.float16]]]:
    """Return the probabilities of every image per head, for each finished net that did not diverge."""
    found = {}
    for net in nets:
        file = out / net.name / PREDICTIONS
        if (out / net.name / RESULT).exists() and file.exists():
            with np.load(file, allow_pickle=False) as saved:
                found[net.name] = {head: saved[head] for head in saved.files}
    return found


def results(piece: Piece, *, report: bool = False) -> list[dict[str, Any]]:
    """Return a row per finished net and one for the ensemble: name, role, PublicTest accuracy and, with ``report``, PrivateTest's."""
    campaign, out = piece.campaign, piece.out
    rows: list[dict[str, Any]] = []
    for net in campaign.nets:
        if (out / net.name / RESULT).exists():
            role = "student" if net in campaign.students else "member"
            rows.append({"name": net.name, "role": role, **json.loads((out / net.name / RESULT).read_text(encoding="utf-8"))})
    if (out / ENSEMBLE).exists():
        rows.append({"name": "ensemble", "role": "ensemble", **json.loads((out / ENSEMBLE).read_text(encoding="utf-8"))})
    return _with_final_figures(piece, rows) if report else rows


def _with_final_figures(piece: Piece, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = predictions(piece.campaign.nets, piece.out)
    data = piece.open_data(piece.campaign.members[0].load_recipe())
    for name in found:  # the rows of their arrays have the order of the data set
        if json.loads((piece.out / name / "config.json").read_text(encoding="utf-8"))["data"] != fingerprint(data):
            raise TrainingError(f"{piece.out / name} has the answers for another data set; give the one that it was trained on")
    for row in rows:
        if row["role"] == "ensemble":
            chosen = [found[name] for name in row["members"]]
            heads = [answers["votes"].astype(np.float32) for answers in chosen if "votes" in answers]
            emotion = together([answers["emotion"] for answers in chosen], data)
            row.update(final_figures(emotion, np.mean(heads, axis=0) if heads else None, data))
        elif row["name"] in found:
            row.update(final_figures(found[row["name"]]["emotion"], found[row["name"]].get("votes"), data))
    return rows


def _train(piece: Piece, net: Net, soft: NDArray[np.float32] | None = None) -> None:
    """Start, continue or finish one net. Do nothing if it is finished or the time is too short."""
    folder = piece.out / net.name
    recipe = net.load_recipe()
    done = (folder / RESULT).exists()
    if not done and time.monotonic() + START_S > piece.deadline:
        return
    data = piece.open_data(recipe)
    _check_same(folder, _config(recipe, data, soft))
    if done:
        return
    write_json(folder / ENVIRONMENT, {**environment("jax"), "images": describe(data)})
    try:
        state = fit_on_device(recipe, data, folder / CHECKPOINT, deadline=piece.deadline, soft=soft, on_epoch=piece.on_epoch)
    except DivergedError as error:
        write_json(folder / RESULT, {"error": str(error)})
        return
    write_history(folder, state.history)
    if len(state.history) < recipe.epochs and not should_stop(recipe, state.history, state.best_row):
        return
    network = Network(recipe, len(data.label_names), steps=1)
    answers = network.probabilities(state.best, np.asarray(data.images), net.views)
    small: dict[str, Any] = {head: values.astype(np.float16) for head, values in answers.items()}
    _save(folder / PREDICTIONS, lambda file: np.savez(file, **small))
    rows = data.rows("public")
    row = state.best_row or {}
    result = {
        "public": accuracy(answers["emotion"][rows], data.labels[rows]),
        "parameters": network.parameters,
        "best_epoch": row.get("epoch"),
        "epochs": len(state.history),
        "seconds": round(sum(one["seconds"] for one in state.history), 1),
    }
    write_json(folder / RESULT, result)


def _config(recipe: Recipe, data: Dataset, soft: NDArray[np.float32] | None) -> dict[str, Any]:
    """Return the contents of ``config.json`` of a run folder, as :func:`mien.train.loop.fit.fit` writes it."""
    return {
        "recipe": recipe.to_dict(),
        "labels": list(data.label_names),
        "data": fingerprint(data),
        "validation": "public",
        "soft_labels": None if soft is None else hashlib.sha256(soft.tobytes()).hexdigest()[:16],
    }


def _check_same(folder: Path, config: dict[str, Any]) -> None:
    file = folder / CONFIG
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, config)
        return
    old = json.loads(file.read_text(encoding="utf-8"))
    if changed := [key for key, value in config.items() if old.get(key) != value]:
        raise TrainingError(f"{folder} was trained with another {' and '.join(changed)}; remove that folder, or choose another --out")


def _save(file: Path, write: Callable[[Any], None]) -> None:
    with atomic_write(file) as draft, draft.open("wb") as out:
        write(out)
