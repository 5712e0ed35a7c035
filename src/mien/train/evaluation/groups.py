"""Computes the figures of each group of faces, with intervals, and the gap between the best and the worst group."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.train.data.layouts import csv_rows
from mien.train.evaluation import metrics

Strings = NDArray[np.str_]
RESAMPLES = 500
FIGURES: dict[str, Callable[[NDArray[np.float64], NDArray[np.int64]], float]] = {
    "macro_f1": lambda p, y: metrics.macro_f1(metrics.confusion(p, y)),
    "balanced_accuracy": lambda p, y: metrics.balanced_accuracy(metrics.confusion(p, y)),
    "top2": metrics.top_k,
    "log_loss": metrics.log_loss,
    "ece": metrics.ece,
}


def read_groups(path: str | Path, names: Sequence[str]) -> dict[str, Strings]:
    """Return column -> group of each name (N,). The group is "" if the file has none for that name.

    Args:
        path: a CSV with a ``file`` column and one column per grouping, such as age, gender, skin tone or pose.
        names: the names of the images in the data set.

    Raises:
        DataError: the file does not exist, it has no ``file`` column or no grouping, no row names one of the images, or two rows
            contradict each other.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"no groups at {file}; expected a CSV with a 'file' column and one column per grouping")
    rows = [row for _, row in csv_rows(file)]
    columns = [column for column in (rows[0] if rows else {}) if column != "file"]
    if not rows or "file" not in rows[0] or not columns:
        found = ", ".join(rows[0]) if rows else "no rows"
        raise DataError(f"{file} needs a 'file' column and one column per grouping; found {found}")
    index: dict[str, dict[str, str]] = {}
    for row in rows:
        if index.setdefault(row["file"], row) != row:
            raise DataError(f"{file} has two rows for {row['file']} that differ; leave one out")
    if not set(index) & set(names):
        raise DataError(f"no row of {file} names an image of this data set (expected names such as {names[0]!r})")
    return {column: np.array([index.get(name, {}).get(column, "").strip() for name in names]) for column in columns}


def names_any(path: str | Path, names: Sequence[str]) -> bool:
    """Return whether the column ``file`` of a CSV names one of some images."""
    return Path(path).is_file() and bool({row.get("file") for _, row in csv_rows(Path(path))} & set(names))


def by_group(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    groups: Strings,
    *,
    missing: Strings | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return {groups: name -> figures, gap}, JSON-ready. Faces of the group "" are left out.

    Every figure is {value, low, high} with a 95 % interval. The accuracy has Wilson's interval. The others have the percentiles of
    :data:`RESAMPLES` bootstrap samples (Efron & Tibshirani 1993, chapter 13). ``gap`` is the accuracy of the best group minus that of the
    worst group, with Newcombe's interval. It is None for a single group. ``missing`` (M,) are the groups of pictures without an answer:
    they count as wrong in ``n``, in the accuracy and in the gap; the other figures are about the faces that were answered.

    Raises:
        DataError: no face belongs to a group.
    """
    names = sorted(set(groups.tolist()) - {""})
    if not names:
        raise DataError("no face of this split belongs to a group; check the 'file' column of the groups")
    unanswered = np.array([], np.str_) if missing is None else missing
    hits = np.concatenate([probabilities.argmax(1) == labels, np.zeros(len(unanswered), bool)])
    every = np.concatenate([groups, unanswered])
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {}
    for name in names:
        rows = np.flatnonzero(groups == name)
        p, y = probabilities[rows], labels[rows]
        draws = [rng.integers(len(rows), size=len(rows)) for _ in range(RESAMPLES)]
        total = int((every == name).sum())
        out[name] = {"n": total, "accuracy": metrics.share(int(hits[rows].sum()), total)}
        for figure, compute in FIGURES.items():
            low, high = np.percentile([compute(p[draw], y[draw]) for draw in draws], [2.5, 97.5])
            out[name][figure] = {"value": compute(p, y), "low": float(low), "high": float(high)}
    ranked = sorted(names, key=lambda name: out[name]["accuracy"]["value"])
    return {"groups": out, "gap": _gap(ranked[-1], ranked[0], hits, every) if len(names) > 1 else None}


def newcombe(hits_a: int, total_a: int, hits_b: int, total_b: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference a - b of two independent shares (Newcombe 1998, method 10).

    >>> [round(bound, 4) for bound in newcombe(56, 70, 48, 80)]
    [0.0524, 0.3339]
    """
    a, b = hits_a / total_a, hits_b / total_b
    (low_a, high_a), (low_b, high_b) = metrics.wilson(hits_a, total_a), metrics.wilson(hits_b, total_b)
    return a - b - math.hypot(a - low_a, high_b - b), a - b + math.hypot(high_a - a, b - low_b)


def _gap(best: str, worst: str, hits: NDArray[np.bool_], groups: Strings) -> dict[str, Any]:
    counts = [(int(hits[groups == name].sum()), int((groups == name).sum())) for name in (best, worst)]
    low, high = newcombe(*counts[0], *counts[1])
    value = counts[0][0] / counts[0][1] - counts[1][0] / counts[1][1]
    return {"best": best, "worst": worst, "accuracy": {"value": value, "low": low, "high": high}}
