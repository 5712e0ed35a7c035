"""Shows which parts of a face an answer depends on, by covering the parts one after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from mien.arrays import Frame
from mien.classify import Classifier, softmax
from mien.contract import InputSpec
from mien.errors import UsageError
from mien.geometry import grown, similarity
from mien.results import Face

PATCH, STEP = 1 / 6, 1 / 16  # side and stride of the covering square, in sides of the chip
MARGIN = 0.15  # visible margin around the box of a face, in sides of the box
WARM, COLD = (255, 120, 20), (40, 120, 255)
STRONGEST = 0.6  # opacity of the colour where the effect is largest; serve/page/heat.js draws alike in private mode
DECISIVE = 0.1  # nats; an effect of about 10 % of the label's probability; weaker maps have fainter colours


def occlusion_map(classifier: Classifier, chip: NDArray[np.uint8], label: str | None = None) -> NDArray[np.float64]:
    """Return how much each pixel of a chip supports a label, (S, S) in nats.

    A grey square (the chip's mean) moves over the chip. The value of a pixel is the mean drop of the label's log probability over the
    squares that cover it. Positive: covering the pixel makes the label less likely. Negative: the pixel is evidence against the label.
    Zeiler & Fergus 2014, arXiv:1311.2901, section 4.2.

    Args:
        classifier: the model.
        chip: uint8 (S, S) grey or (S, S, 3) RGB.
        label: the label to explain; the most probable one if None.

    Raises:
        UsageError: the model does not have this label.
    """
    spec = classifier.spec
    if label is not None and label not in spec.labels:
        raise UsageError(f"no label {label!r}; this model's labels are {', '.join(spec.labels)}")
    corners = _corners(spec.chip_size)
    size = _patch(spec.chip_size)
    covered = np.repeat(chip[None], len(corners) + 1, axis=0)  # the last copy stays uncovered
    grey = np.rint(chip.mean(axis=(0, 1))).astype(np.uint8)
    for image, (x, y) in zip(covered, corners, strict=False):
        image[y : y + size, x : x + size] = grey
    log_p = np.log(np.maximum(softmax(classifier.logits(covered), spec.temperature), 1e-12))
    column = spec.labels.index(label) if label else int(log_p[-1].argmax())
    drop = log_p[-1, column] - log_p[:-1, column]
    total, count = np.zeros((2, spec.chip_size, spec.chip_size))
    for value, (x, y) in zip(drop, corners, strict=True):
        total[y : y + size, x : x + size] += value
        count[y : y + size, x : x + size] += 1
    return np.asarray(total / count, np.float64)


def strongest(heat: NDArray[np.float64]) -> float:
    """Return the largest effect in a map of nats, positive or negative, as a share of the label's probability."""
    return float(-np.expm1(-np.abs(heat).max()))


def overlay(
    frame_rgb: NDArray[np.uint8], heat: NDArray[np.float64], landmarks: ArrayLike, spec: InputSpec, *, full_at: float = 0.0
) -> NDArray[np.uint8]:
    """Return a copy of the frame, uint8 (H, W, 3), with the map of a chip drawn over its face.

    Warm colours support the label, cold colours oppose it. The opacity is highest at the strongest value of the map, or at ``full_at`` if
    that is larger.

    Args:
        frame_rgb: uint8 (H, W, 3).
        heat: (S, S), as :func:`occlusion_map` returns it.
        landmarks: five points (5, 2) of the face, pixels of the frame.
        spec: chip size and template.
        full_at: value of full opacity, in the unit of the map; with :data:`DECISIVE`, noise in a map of nats stays faint.
    """
    height, width = frame_rgb.shape[:2]
    strength = np.abs(heat) / (max(np.abs(heat).max(), full_at) or 1)
    colour = np.where(heat[..., None] >= 0, WARM, COLD).astype(np.uint8)
    layer = np.concatenate([colour, np.rint(255 * STRONGEST * strength)[..., None].astype(np.uint8)], -1)
    to_chip = similarity(landmarks, spec.template)
    placed = Image.fromarray(layer, "RGBA").transform(
        (width, height), Image.Transform.AFFINE, to_chip.ravel().tolist(), Image.Resampling.BILINEAR
    )
    image = Image.fromarray(frame_rgb).convert("RGBA")
    image.alpha_composite(placed)
    return np.asarray(image.convert("RGB"), np.uint8)


@dataclass(frozen=True, eq=False)
class FaceExplanation:
    """The explanation of the answer for one face.

    ``box_xyxy`` is the visible part of the frame in whole pixels: the box of the face and a margin. ``crop_rgb`` is this part, and
    ``marked_rgb`` is the same in grey with the map in colour, both uint8 (H, W, 3). ``shares`` is the result of :func:`by_part`, and
    ``strongest`` the result of :func:`strongest`.
    """

    box_xyxy: tuple[int, int, int, int]
    crop_rgb: Frame
    marked_rgb: Frame
    shares: dict[str, float]
    strongest: float


def explain_face(
    frame_rgb: Frame, face: Face, heat: NDArray[np.float64], spec: InputSpec, *, full_at: float = DECISIVE, max_side: int | None = None
) -> FaceExplanation:
    """Return the explanation of one face of a frame.

    Args:
        frame_rgb: uint8 (H, W, 3).
        face: a face of this frame.
        heat: (S, S), the map of the chip of this face, such as :func:`occlusion_map` returns.
        spec: chip size and template of the model.
        full_at: as for :func:`overlay`.
        max_side: scale ``marked_rgb`` down to at most this longer side, in pixels; not scaled if None.
    """
    height, width = frame_rgb.shape[:2]
    x0, y0, x1, y1 = box = grown(face.box_xyxy, MARGIN, width, height)
    crop = frame_rgb[y0:y1, x0:x1]
    scale = min(1.0, max_side / max(crop.shape[:2])) if max_side else 1.0
    shown = Image.fromarray(crop)
    if scale < 1:
        size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
        shown = shown.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    grey = np.asarray(shown.convert("L").convert("RGB"), np.uint8)  # warm colours are hard to see on skin
    landmarks = [((x - x0) * scale, (y - y0) * scale) for x, y in face.landmarks]
    return FaceExplanation(box, crop, overlay(grey, heat, landmarks, spec, full_at=full_at), by_part(heat, spec), strongest(heat))


def by_part(heat: NDArray[np.float64], spec: InputSpec) -> dict[str, float]:
    """Return the share of the support (positive values of a map) around the eyes, the nose and the mouth, and in the rest.

    A pixel belongs to the nearest template point, if the distance is at most a sixth of the chip's side.
    """
    support = np.maximum(heat, 0)
    ys, xs = np.mgrid[: spec.chip_size, : spec.chip_size]
    distance = np.stack([np.hypot(xs - x, ys - y) for x, y in spec.template])
    nearest = np.where(distance.min(0) <= spec.chip_size / 6, distance.argmin(0), -1)
    total = float(support.sum()) or 1.0
    parts = {"eyes": (0, 1), "nose": (2,), "mouth": (3, 4), "rest": (-1,)}
    return {name: float(support[np.isin(nearest, points)].sum() / total) for name, points in parts.items()}


def _patch(side: int) -> int:
    return max(2, round(side * PATCH))


def _corners(side: int) -> list[tuple[int, int]]:
    """Return the upper left corners (x, y) of the squares; the last squares touch the right and lower edge."""
    last = side - _patch(side)
    along = sorted({*range(0, last, max(1, round(side * STEP))), last})
    return [(x, y) for y in along for x in along]
