"""Evaluates the trained members: it gives their figures, the ensemble that PublicTest chooses, and its soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.classify import softmax
from mien.errors import TrainingError, UsageError
from mien.train.data.dataset import Dataset
from mien.train.data.splits import ferplus_majority, select
from mien.train.evaluation.calibrate import fit_temperature
from mien.train.evaluation.metrics import log_loss, share

SMALLEST = 1e-7  # in float16, smaller probabilities become 0


def accuracy(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return {value, low, high}: accuracy and its 95 % Wilson interval."""
    return share(int((probabilities.argmax(1) == labels).sum()), len(labels))


def calibrated(probabilities: NDArray[Any], data: Dataset) -> NDArray[np.float64]:
    """Return the probabilities (len(data), C) of one net at the temperature that is fitted on PublicTest.

    Raises:
        UsageError: no temperature fits, because the net is at chance on PublicTest or makes no error there.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
    rows = data.rows("public")
    return softmax(logits, fit_temperature(logits[rows], data.labels[rows]))


def choose(members: dict[str, NDArray[Any]], data: Dataset) -> tuple[str, ...]:
    """Return the members of the best ensemble, in the order in which they are chosen.

    It uses greedy forward selection (Caruana et al. 2004, doi:10.1145/1015330.1015432) on PublicTest. Each step adds the net that gives
    the mean of the ensemble the lowest log loss. It stops when no net lowers the log loss. Log loss is used because single faces change
    the accuracy, and the choice would then depend on these faces.

    Args:
        members: name -> probabilities (len(data), C).
        data: labels and splits; only the split ``public`` is used.

    Raises:
        TrainingError: no member can be calibrated on PublicTest.
    """
    usable: dict[str, NDArray[np.float64]] = {}
    for name, probabilities in members.items():
        try:
            usable[name] = calibrated(probabilities, data)
        except UsageError:
            continue
    if not usable:
        raise TrainingError(
            f"no temperature calibrates any of {', '.join(members) or 'the members'} on PublicTest: each is right there less often "
            "than by chance; are these answers to these images, in the same order?"
        )
    rows = data.rows("public")
    chosen: list[str] = []
    best = np.inf
    while left := [name for name in usable if name not in chosen]:
        losses = {name: log_loss(_mean([usable[one][rows] for one in (*chosen, name)]), data.labels[rows]) for name in left}
        name = min(losses, key=losses.__getitem__)
        if losses[name] >= best:
            break
        chosen.append(name)
        best = losses[name]
    return tuple(chosen)


def together(members: Sequence[NDArray[Any]], data: Dataset) -> NDArray[np.float64]:
    """Return an ensemble's probabilities (len(data), C): the mean over its members, each at its own temperature."""
    return _mean([calibrated(member, data) for member in members])


def soft_labels(probabilities: NDArray[np.float64], data: Dataset) -> NDArray[np.float32]:
    """Return the probabilities (len(data), C) of training images. All others get equal shares, so that no student learns from them."""
    labels = np.full(probabilities.shape, 1 / probabilities.shape[1], np.float32)
    rows = data.rows("train")
    labels[rows] = probabilities[rows]
    return labels


def final_figures(emotion: NDArray[Any], votes: NDArray[Any] | None, data: Dataset) -> dict[str, dict[str, float]]:
    """Return the accuracy on PrivateTest, on its clean part and, with a votes head, on the FER+ majority labels (8 classes).

    Args:
        emotion: probabilities (len(data), labels).
        votes: probabilities (len(data), 8) of the FER+ head, or None.
        data: the data set; it must have FER+ votes if ``votes`` is given.
    """
    splits = {name: select(data, name, data.label_names) for name in ("private", "clean")}
    figures = {name: accuracy(emotion[split.rows], split.labels) for name, split in splits.items()}
    if votes is not None and data.votes is not None:
        rows = data.rows("private")
        majority = ferplus_majority(data.votes[rows])
        agreed = majority >= 0
        figures["ferplus"] = accuracy(votes[rows[agreed]], majority[agreed])
    return figures


def _mean(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.mean(arrays, axis=0), np.float64)
