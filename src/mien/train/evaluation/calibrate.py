"""Calibrates the confidence of a model: a temperature for the logits, and the threshold below which a face is ``uncertain``.

PublicTest chooses both. For the models that answer what people see, photos help to choose. The reported images never choose.
docs/calibration.md explains both without formulas.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mien.atomic import atomic_write
from mien.bundles import SPEC_FILE, Bundle
from mien.classify import softmax
from mien.contract import InputSpec
from mien.errors import MienWarning, UsageError
from mien.train.evaluation.metrics import checked, risk_coverage, wilson

TARGET_ACCURACY = 0.8  # share of right answers among those that are not marked uncertain: four of five
PHOTO_ACCURACY = 0.9  # the same share when photos calibrate: nine of ten
FEW = 100  # faces; a temperature from fewer is unreliable
TEMPERATURES = (0.05, 20.0)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature T that minimises the log loss of softmax(logits / T).

    Source: temperature scaling, Guo et al. 2017, arXiv:1706.04599. The loss is convex in 1 / T, so one bounded search finds its minimum.
    If the minimum is outside 0.05..20, the nearer bound is returned. This happens when the model is always right on a few faces, or when
    it is right no more often than by chance.

    Args:
        logits: raw model outputs (N, C).
        labels: class indices (N,).

    Raises:
        UsageError: see :func:`mien.train.evaluation.metrics.checked`; or the accuracy is so far below chance that the logits do not
            belong to these labels.
    """
    z, y = checked(logits, labels, "logits")
    right = int((z.argmax(1) == y).sum())
    if wilson(right, len(y))[1] < 1 / z.shape[1]:
        raise UsageError(f"{right} of {len(y)} faces are right, fewer than by chance; are these logits of these labels, in the same order?")

    def loss(inverse: float) -> float:
        return float(-log_softmax(z * inverse, axis=1)[np.arange(len(y)), y].mean())

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    inverse = float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x)
    return 1 / inverse


def choose_threshold(probabilities: ArrayLike, labels: ArrayLike, target_accuracy: float = TARGET_ACCURACY) -> float:
    """Return the lowest confidence threshold at which the kept faces reach an accuracy; 0.0 if all faces together reach it.

    A face is kept when its largest probability is at least the threshold, as in the runtime. The threshold lies halfway to the next
    lower confidence, so that a rounding error on another machine does not move a face across it.

    Args:
        probabilities: calibrated (N, C).
        labels: class indices (N,).
        target_accuracy: wanted share of right answers among the kept faces, in (0, 1].

    Raises:
        UsageError: the target is not a share, or no threshold reaches it (the message names the best accuracy that a threshold reaches).
    """
    if not 0 < target_accuracy <= 1:
        raise UsageError(f"target_accuracy must be in (0, 1], got {target_accuracy}")
    curve = risk_coverage(probabilities, labels)
    good = np.flatnonzero(1 - curve.risk >= target_accuracy)
    if not len(good):
        best = 1 - curve.risk.min()
        raise UsageError(
            f"no confidence threshold keeps faces with {target_accuracy:.1%} accuracy; the best reachable here is {best:.1%}. "
            "Ask for less, or train longer"
        )
    last = int(good[-1])
    if last == len(curve.threshold) - 1:
        return 0.0
    return float(curve.threshold[last] + curve.threshold[last + 1]) / 2


def calibrated(spec: InputSpec, logits: ArrayLike, labels: ArrayLike, target_accuracy: float | None = None) -> InputSpec:
    """Return ``spec`` with ``temperature`` and ``uncertain_below`` fitted on the logits (N, C) of PublicTest.

    Args:
        spec: the spec to fit.
        logits: raw outputs (N, C) for faces that the network was not trained on.
        labels: class indices (N,).
        target_accuracy: wanted share of right answers among the kept faces. None uses :data:`TARGET_ACCURACY`; if no threshold
            reaches that, it warns and uses the best accuracy that a threshold reaches.

    Raises:
        UsageError: see :func:`fit_temperature` and :func:`choose_threshold`.
    """
    temperature = fit_temperature(logits, labels)
    p = softmax(np.asarray(logits), temperature)
    faces = len(p)
    if faces < FEW:
        warnings.warn(f"calibrated on {faces} faces only; below {FEW} do not trust the confidence", MienWarning, stacklevel=2)
    if target_accuracy is None:
        best = float(1 - risk_coverage(p, labels).risk.min())
        target_accuracy = min(TARGET_ACCURACY, best)
        if best < TARGET_ACCURACY:
            warnings.warn(
                f"no confidence threshold is right on {TARGET_ACCURACY:.1%} of what it keeps of these {faces} faces; took the one that is "
                f"right on {best:.1%}. More images or a longer training raise it; --target-accuracy asks for another",
                MienWarning,
                stacklevel=2,
            )
    return spec.updated(temperature=temperature, uncertain_below=choose_threshold(p, labels, target_accuracy))


def calibrated_on_photos(
    spec: InputSpec,
    crops: Sequence[tuple[ArrayLike, ArrayLike]],
    photos: tuple[ArrayLike, ArrayLike],
    target_accuracy: float | None = None,
) -> InputSpec:
    """Return ``spec`` with a temperature fitted on crops and photos together, and a threshold that holds on the photos.

    Users show photos, so the target accuracy applies to photos. Ten raters labelled the crops. The crops keep the temperature from
    following the noise in the labels of the photos.

    Args:
        spec: the spec to fit.
        crops: sets of faces that the network was not trained on, each logits (N, C) and class indices (N,); may be empty.
        photos: logits and class indices of the faces in photos.
        target_accuracy: wanted share of right answers among the photos that are not uncertain; None uses :data:`PHOTO_ACCURACY`.

    Raises:
        UsageError: see :func:`fit_temperature` and :func:`choose_threshold`.
    """
    logits, labels = (np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*crops, photos, strict=True))
    temperature = fit_temperature(logits, labels)
    photo_logits, photo_labels = (np.asarray(part) for part in photos)
    if len(photo_labels) < FEW:
        warnings.warn(f"calibrated on {len(photo_labels)} photos only; below {FEW} do not trust the confidence", MienWarning, stacklevel=2)
    threshold = choose_threshold(
        softmax(photo_logits, temperature), photo_labels, PHOTO_ACCURACY if target_accuracy is None else target_accuracy
    )
    return spec.updated(temperature=temperature, uncertain_below=threshold)


def write_spec(bundle: Bundle, spec: InputSpec) -> Bundle:
    """Replace the spec.json of a bundle atomically, and return the bundle with the new spec."""
    file = bundle.folder / SPEC_FILE
    with atomic_write(file) as draft:
        draft.write_text(spec.to_json(), encoding="utf-8")
    return Bundle(bundle.folder, spec)
