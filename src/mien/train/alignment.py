"""An aligned copy of a data set, to compare training on it with training on the crops as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.align import chip
from mien.contract import InputSpec, template_for
from mien.detect.base import Detector
from mien.errors import UsageError
from mien.train.data import Dataset

ENLARGE = 3  # a detector wants a face larger than a chip
TEST_FOLDER = {"public": "test", "private": "test"}


@dataclass(frozen=True)
class Aligned:
    """How many chips were ``moved``, and how many were ``kept`` as they were because no face was found in them."""

    moved: int
    kept: int


def write_aligned(data: Dataset, out: Path, detector: Detector, on_image: Callable[[], None] | None = None) -> Aligned:
    """Write ``out``/<split>/<label>/*.png: every face turned, scaled and shifted so that its five points meet the template.

    Args:
        data: the images.
        out: folder to make.
        detector: finds the five points; the largest face counts.
        on_image: called after each image.

    Raises:
        UsageError: ``out`` exists.
    """
    if out.exists():
        raise UsageError(f"{out} exists; name a new folder for the aligned copy")
    side = data.images.shape[1]
    spec = InputSpec("aligned", "1", chip_size=side, channels=1 if data.images.ndim == 3 else 3, template=template_for(side))
    moved = 0
    for name, label, split, image in zip(data.names, data.labels, data.splits, data.images, strict=True):
        aligned = align(np.asarray(image), detector, spec)
        moved += aligned is not None
        file = out / TEST_FOLDER.get(str(split), str(split)) / data.label_names[label] / f"{Path(name).stem}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        result = np.asarray(image) if aligned is None else aligned
        cv2.imwrite(str(file), result if result.ndim == 2 else result[..., ::-1])
        if on_image:
            on_image()
    return Aligned(moved, len(data) - moved)


def align(image: NDArray[np.uint8], detector: Detector, spec: InputSpec) -> NDArray[np.uint8] | None:
    """Return one chip, uint8 (S, S) or (S, S, 3), brought into the template's framing, or None where no face is found."""
    rgb = image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)
    frame_rgb = np.asarray(cv2.resize(rgb, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC), np.uint8)
    found = detector.detect(frame_rgb)
    return chip(frame_rgb, found[0].landmarks, spec) if found else None
