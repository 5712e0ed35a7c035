"""Metrics of predictions, as plain functions of probabilities (N, C) and labels (N,).

The rows of ``probabilities`` are in [0, 1] and sum to 1. ``labels`` are class indices in [0, C). The predicted class of a face is the one
with the largest probability (the first, on a tie).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import UsageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
ECE_BINS = 15
RESAMPLES = 2000


@dataclass(frozen=True)
class ClassFigures:
    """Figures per class, arrays (C,): precision TP / (TP + FP), recall TP / (TP + FN), their harmonic mean f1, support TP + FN.

    A ratio whose denominator is 0 is 0.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints


@dataclass(frozen=True)
class ReliabilityBins:
    """Faces sorted into confidence bins of equal width; arrays (bins,). Empty bins have NaN in ``confidence`` and ``accuracy``."""

    edges: Floats  # (bins + 1,)
    count: Ints
    confidence: Floats
    accuracy: Floats


@dataclass(frozen=True)
class RiskCoverage:
    """Accuracy when only confident faces get an answer; arrays over the distinct confidences, from the highest to the lowest.

    The faces with confidence >= ``threshold[i]`` are the share ``coverage[i]`` of all faces; the share ``risk[i]`` of these is wrong.
    """

    threshold: Floats
    coverage: Floats
    risk: Floats


def wilson(successes: int, total: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953); (0, 1) for no trials.

    >>> [round(bound, 4) for bound in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if total == 0:
        return 0.0, 1.0
    share = successes / total
    centre = share + Z95**2 / (2 * total)
    half = Z95 * math.sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2))
    scale = 1 + Z95**2 / total
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def accuracy(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of faces whose most probable class is their label."""
    p, y = checked(probabilities, labels)
    return float((p.argmax(1) == y).mean())


def top_k(probabilities: ArrayLike, labels: ArrayLike, k: int = 2) -> float:
    """Return the share of faces whose label is among the ``k`` most probable classes. Ties are ordered by class index."""
    p, y = checked(probabilities, labels)
    best = np.argsort(-p, axis=1, kind="stable")[:, :k]
    return float((best == y[:, None]).any(1).mean())


def log_loss(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of -ln p(label) in nats. p is at least 1e-15, so that one certain mistake does not make the mean infinite."""
    p, y = checked(probabilities, labels)
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-15)).mean())


def confusion(probabilities: ArrayLike, labels: ArrayLike) -> Ints:
    """Return the confusion matrix, counts (C, C): rows are labels, columns are predictions."""
    p, y = checked(probabilities, labels)
    classes = p.shape[1]
    return np.bincount(y * classes + p.argmax(1), minlength=classes**2).reshape(classes, classes).astype(np.int64)


def per_class(matrix: ArrayLike) -> ClassFigures:
    """Return precision, recall, F1 and support of each class from a confusion matrix (C, C).

    >>> per_class([[3, 1], [0, 4]]).precision.tolist()
    [1.0, 0.8]
    """
    counts = np.asarray(matrix, np.int64)
    hits, support, given = counts.diagonal(), counts.sum(1), counts.sum(0)
    return ClassFigures(_ratio(hits, given), _ratio(hits, support), _ratio(2 * hits, support + given), support)


def macro_f1(matrix: ArrayLike) -> float:
    """Return the mean F1 over the classes that occur in labels or predictions."""
    counts = np.asarray(matrix, np.int64)
    seen = counts.sum(0) + counts.sum(1) > 0
    return float(per_class(counts).f1[seen].mean())


def balanced_accuracy(matrix: ArrayLike) -> float:
    """Return the mean recall over the classes that have a face (Brodersen et al. 2010, doi:10.1109/ICPR.2010.764)."""
    figures = per_class(matrix)
    return float(figures.recall[figures.support > 0].mean())


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = ECE_BINS) -> ReliabilityBins:
    """Return mean confidence and accuracy in ``bins`` intervals (lower, upper] of equal width over [0, 1]."""
    p, y = checked(probabilities, labels)
    confidence, hit = p.max(1), p.argmax(1) == y
    at = _bin_of(confidence, bins)
    count = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of an empty bin
        mean_confidence, mean_hit = (np.bincount(at, weights=values, minlength=bins) / count for values in (confidence, hit))
    return ReliabilityBins(np.linspace(0, 1, bins + 1), count, mean_confidence, mean_hit)


def ece(probabilities: ArrayLike, labels: ArrayLike, bins: int = ECE_BINS) -> float:
    """Return the expected calibration error: the mean distance between confidence and accuracy of the bins, weighted by their faces.

    Source: Naeini et al. 2015 (AAAI), in the form of Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    r = reliability(probabilities, labels, bins)
    used = r.count > 0
    return float((r.count[used] * np.abs(r.confidence[used] - r.accuracy[used])).sum() / r.count.sum())


def ece_by_chance(probabilities: ArrayLike, bins: int = ECE_BINS) -> float:
    """Return the expected :func:`ece` of perfectly calibrated probabilities (N, C). It is never zero, because N is finite.

    If the confidences c are calibrated, the number of hits in a bin has a normal error with variance sum c (1 - c). The mean absolute
    value of that error is sqrt(2 / pi) times its standard deviation. The part of an ECE above this value is the error of the model.
    """
    confidence = np.asarray(probabilities, np.float64).max(1)
    variance = np.bincount(_bin_of(confidence, bins), weights=confidence * (1 - confidence), minlength=bins)
    return float(np.sqrt(2 / np.pi * np.maximum(variance, 0)).sum() / len(confidence))


def risk_coverage(probabilities: ArrayLike, labels: ArrayLike) -> RiskCoverage:
    """Return the error rate of the kept faces at every confidence threshold (Geifman & El-Yaniv 2017, arXiv:1705.08500)."""
    p, y = checked(probabilities, labels)
    confidence = p.max(1)
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    last = np.append(np.flatnonzero(np.diff(sorted_confidence)), len(y) - 1)  # faces of equal confidence are kept or dropped together
    wrong = np.cumsum(p.argmax(1)[order] != y[order])
    count = last + 1
    return RiskCoverage(sorted_confidence[last], count / len(y), wrong[last] / count)


def selective_accuracy(probabilities: ArrayLike, labels: ArrayLike, threshold: float, missing: int = 0) -> dict[str, Any]:
    """Return the accuracy on the faces at or above a confidence threshold, and their share of all faces (the coverage).

    The keys are threshold, n, coverage and accuracy; the result is JSON-ready. The accuracy is {value, low, high}, or None if no face is
    left. ``missing`` pictures without an answer count as faces below the threshold.
    """
    p, y = checked(probabilities, labels)
    sure = p.max(1) >= threshold
    hits, count = int((p.argmax(1) == y)[sure].sum()), int(sure.sum())
    return {"threshold": threshold, "n": count, "coverage": count / (len(y) + missing), "accuracy": share(hits, count) if count else None}


def kept_by_label(
    probabilities: ArrayLike, labels: ArrayLike, label_names: Sequence[str], threshold: float, missing: Sequence[int] = ()
) -> dict[str, dict[str, Any]]:
    """Return label -> :func:`selective_accuracy` of the faces of that label. Labels without a face are left out."""
    p, y = checked(probabilities, labels)
    unanswered = np.bincount(np.asarray(missing, np.int64), minlength=len(label_names)).tolist()
    return {
        name: selective_accuracy(p[y == index], y[y == index], threshold, unanswered[index])
        for index, name in enumerate(label_names)
        if (y == index).any()
    }


def share(successes: int, total: int) -> dict[str, float]:
    """Return {value, low, high}: a share and its 95 % Wilson interval.

    Raises:
        UsageError: ``total`` is 0.
    """
    if total < 1:
        raise UsageError("expected at least one face, got none")
    low, high = wilson(successes, total)
    return {"value": successes / total, "low": low, "high": high}


def mean_recall(hits: ArrayLike, support: ArrayLike) -> dict[str, float]:
    """Return {value, low, high}: the mean recall over labels with ``hits`` right answers of ``support`` faces each, arrays (L,).

    The 95 % interval is the central range of :data:`RESAMPLES` parametric bootstrap samples. Each sample draws the hits of each label
    from a binomial distribution (Efron & Tibshirani 1993, chapter 6).

    Raises:
        UsageError: there are no labels, or a label has no faces.
    """
    right, total = np.asarray(hits, np.int64), np.asarray(support, np.int64)
    if not len(total) or not (total > 0).all():
        raise UsageError(f"expected one face or more per label, got {total.tolist()}")
    draws = np.random.default_rng(0).binomial(total, right / total, (RESAMPLES, len(total))) / total
    low, high = np.percentile(draws.mean(1), [2.5, 97.5])
    return {"value": float((right / total).mean()), "low": float(low), "high": float(high)}


def summary(
    probabilities: ArrayLike, labels: ArrayLike, label_names: Sequence[str], missing: Sequence[int] = (), min_faces: int = 1
) -> dict[str, Any]:
    """Return the figures of one set of faces, JSON-ready.

    Keys: n, accuracy {value, low, high}, macro_f1, balanced_accuracy, top2, log_loss, ece, ece_by_chance, per_class (label -> precision,
    recall, f1, support), confusion (rows are labels, columns predictions, in the order of ``label_names``) and mean_recall {labels, value,
    low, high} over the labels with at least ``min_faces`` faces.

    Args:
        probabilities: (N, C), one row per face with an answer.
        labels: class indices (N,).
        label_names: the C labels.
        missing: class indices of pictures without an answer. They count as wrong answers in n, accuracy, recall, F1 and support. Log loss,
            ECE, top2 and the confusion use only the faces with an answer. The key ``missing`` (label -> count) says how many there are.
        min_faces: a label with fewer faces is left out of the mean recall, because its recall is mostly noise.

    Raises:
        UsageError: no faces, shapes that do not fit, or labels outside the classes.
    """
    p, y = checked(probabilities, labels)
    if p.shape[1] != len(label_names):
        raise UsageError(f"expected one column per label, got {p.shape[1]} columns and {len(label_names)} labels")
    matrix = confusion(p, y)
    unanswered = np.bincount(np.asarray(missing, np.int64), minlength=len(label_names))
    whole = np.column_stack([np.vstack([matrix, np.zeros(len(label_names), np.int64)]), np.append(unanswered, 0)])  # column: no answer
    every = per_class(whole)
    figures = ClassFigures(every.precision[:-1], every.recall[:-1], every.f1[:-1], every.support[:-1])
    seen = figures.support + matrix.sum(0) > 0
    common = figures.support >= min_faces if (figures.support >= min_faces).any() else figures.support > 0
    return {
        "n": len(y) + len(missing),
        "accuracy": share(int(matrix.trace()), len(y) + len(missing)),
        "macro_f1": float(figures.f1[seen].mean()),
        "balanced_accuracy": float(figures.recall[figures.support > 0].mean()),
        "mean_recall": {
            "labels": [name for name, is_common in zip(label_names, common.tolist(), strict=True) if is_common],
            **mean_recall(matrix.diagonal()[common], figures.support[common]),
        },
        "top2": top_k(p, y, 2),
        "log_loss": log_loss(p, y),
        "ece": ece(p, y),
        "ece_by_chance": ece_by_chance(p),
        "per_class": {
            name: {
                "precision": float(figures.precision[i]),
                "recall": float(figures.recall[i]),
                "f1": float(figures.f1[i]),
                "support": int(figures.support[i]),
            }
            for i, name in enumerate(label_names)
        },
        "confusion": matrix.tolist(),
        **({"missing": dict(zip(label_names, unanswered.tolist(), strict=True))} if len(missing) else {}),
    }


def _bin_of(confidence: Floats, bins: int) -> Ints:
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def _ratio(above: Ints, below: Ints) -> Floats:
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)


def checked(values: ArrayLike, labels: ArrayLike, kind: str = "probabilities") -> tuple[Floats, Ints]:
    """Return both inputs as arrays: ``kind`` of each face, float64 (N, C), and its class index, int64 (N,).

    Raises:
        UsageError: no faces, shapes that do not fit, values that are not finite, or labels outside the classes.
    """
    p, y = np.asarray(values, np.float64), np.asarray(labels, np.int64)
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(y):
        raise UsageError(f"expected {kind} (N, C) and labels (N,) of at least one face, got {p.shape} and {y.shape}")
    if not (finite := np.isfinite(p).all(1)).all():
        raise UsageError(f"expected finite {kind}, got NaN or infinity for {(~finite).sum()} of {len(p)} faces; the model is damaged")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise UsageError(f"expected labels from 0 to {p.shape[1] - 1}, got {y.min()} to {y.max()}")
    return p, y
