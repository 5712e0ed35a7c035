"""Measures accuracy on degraded pictures: blur, noise, darkness and other changes, each at five strengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.contract import InputSpec
from mien.train.data.dataset import Dataset
from mien.train.data.splits import Split
from mien.train.evaluation import metrics
from mien.train.evaluation.evaluate import Model

Chips = NDArray[np.uint8]  # (N, S, S) or (N, S, S, 3)
Chip = NDArray[np.uint8]  # (S, S) or (S, S, 3)
FACES = 1000  # evenly spread over the split; the interval is then about +-3 points


@dataclass(frozen=True)
class Change:
    """One way to degrade a chip. ``apply(chip, strength, spec, rng)`` returns a changed copy. ``unit`` is the unit of the strengths."""

    unit: str
    strengths: tuple[float, ...]
    apply: Callable[[Chip, float, InputSpec, np.random.Generator], NDArray[Any]]


def robustness(model: Model, data: Dataset, split: Split, faces: int = FACES, seed: int = 0) -> dict[str, Any]:
    """Return accuracy under every change of :data:`CHANGES`, JSON-ready.

    Keys: title, n, baseline {value, low, high} on the unchanged pictures, and changes: name -> unit, strengths, accuracy (one {value, low,
    high} per strength).

    Args:
        model: the model to measure.
        data: images with the model's size and channels.
        split: the images to use.
        faces: number of faces, evenly spread over the split; all of them if the split is smaller.
        seed: seed of the noise and of the directions of shifts and turns.
    """
    at = np.linspace(0, len(split) - 1, min(faces, len(split))).astype(int)
    chips, labels = np.asarray(data.images[split.rows[at]]), split.labels[at]

    def score(changed: Chips) -> dict[str, float]:
        return metrics.share(int((model.logits(changed).argmax(1) == labels).sum()), len(labels))

    changes = {
        name: {
            "unit": change.unit,
            "strengths": list(change.strengths),
            "accuracy": [score(changed(chips, name, strength, model.spec, seed)) for strength in change.strengths],
        }
        for name, change in CHANGES.items()
    }
    return {"title": split.title, "n": len(labels), "baseline": score(chips), "changes": changes}


def changed(chips: Chips, name: str, strength: float, spec: InputSpec, seed: int = 0) -> Chips:
    """Return chips, uint8 (N, S, S) or (N, S, S, 3), changed by ``name`` with a strength. The same seed gives the same result."""
    rng = np.random.default_rng(seed)
    apply = CHANGES[name].apply
    out = np.empty_like(chips)
    for i, chip in enumerate(chips):
        out[i] = np.clip(np.rint(apply(chip, strength, spec, rng)), 0, 255)
    return out


def _jpeg(chip: Chip, quality: float) -> Chip:
    _, data = cv2.imencode(".jpg", chip, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def _fewer_pixels(chip: Chip, side: float) -> Chip:
    full = (chip.shape[1], chip.shape[0])
    small = cv2.resize(chip, (int(side), int(side)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, full, interpolation=cv2.INTER_LINEAR), np.uint8)


def _moved(chip: Chip, turn_deg: float = 0, zoom: float = 1, shift: tuple[float, float] = (0, 0)) -> Chip:
    side = chip.shape[0]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), turn_deg, zoom)
    matrix[:, 2] += np.array(shift) * side
    moved = cv2.warpAffine(chip, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _towards(rng: np.random.Generator, distance: float) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * np.pi)
    return float(distance * np.cos(angle)), float(distance * np.sin(angle))


def _covered(chip: Chip, points: slice, height: float, spec: InputSpec) -> Chip:
    """Return the chip with a grey bar over some points of the template. ``height`` is the height of the bar as a share of the side."""
    where = np.array(spec.template)[points]
    half = height * spec.chip_size / 2
    x0, x1 = where[:, 0].min() - 5 * spec.chip_size / 48, where[:, 0].max() + 5 * spec.chip_size / 48
    y = where[:, 1].mean()
    out = chip.copy()
    out[int(max(0, y - half)) : int(y + half), int(max(0, x0)) : int(x1)] = 128
    return out


BAR, BARS = "height of the bar, share of the side", (0.08, 0.14, 0.2, 0.26, 0.32)
CHANGES: dict[str, Change] = {
    "blur": Change("Gaussian sigma, px", (0.5, 1, 1.5, 2, 3), lambda c, s, _, __: cv2.GaussianBlur(c, (0, 0), s)),
    "noise": Change("standard deviation, grey levels", (5, 10, 20, 30, 45), lambda c, s, _, rng: c + rng.normal(0, s, c.shape)),
    "JPEG": Change("quality", (70, 50, 30, 15, 8), lambda c, s, _, __: _jpeg(c, s)),
    "low resolution": Change("side, px", (40, 32, 24, 16, 12), lambda c, s, _, __: _fewer_pixels(c, s)),
    "darker": Change("factor", (0.8, 0.6, 0.4, 0.25, 0.15), lambda c, s, _, __: c * s),
    "brighter": Change("grey levels added", (20, 40, 60, 90, 120), lambda c, s, _, __: c + s),
    "less contrast": Change("factor", (0.8, 0.6, 0.4, 0.25, 0.1), lambda c, s, _, __: c.mean() + (c - c.mean()) * s),
    "eyes covered": Change(BAR, BARS, lambda c, s, spec, _: _covered(c, slice(0, 2), s, spec)),
    "mouth covered": Change(BAR, BARS, lambda c, s, spec, _: _covered(c, slice(3, 5), s, spec)),
    "roll": Change("degrees", (5, 10, 20, 30, 45), lambda c, s, _, rng: _moved(c, turn_deg=s * rng.choice([-1, 1]))),
    "box shifted": Change("share of the side", (0.04, 0.08, 0.12, 0.16, 0.24), lambda c, s, _, rng: _moved(c, shift=_towards(rng, s))),
    "box too large": Change("times the side", (1.1, 1.2, 1.35, 1.5, 1.75), lambda c, s, _, __: _moved(c, zoom=1 / s)),
    "box too small": Change("times the side", (0.95, 0.9, 0.8, 0.7, 0.6), lambda c, s, _, __: _moved(c, zoom=1 / s)),
}
