"""Compares an export with its source, and states how much its answers may differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.assets import demo_photo
from mien.classify import Classifier, softmax
from mien.contract import InputSpec
from mien.train.data.dataset import Dataset
from mien.train.data.splits import TITLES, ferplus_split, select, speaks_ferplus

CALIBRATION_CHIPS = 512
CROPS = 256


@dataclass(frozen=True)
class Tolerance:
    """How much an export may differ from its source.

    ``agreement``: smallest share of chips with the same most probable label. ``difference``: largest difference of a probability.
    ``loss_points``: largest loss of accuracy, in percentage points. ``share``: largest size, as a share of the float32 graph.
    """

    agreement: float
    difference: float = 1.0
    loss_points: float = 0.5
    share: float = 1.5


TOLERANCES = {
    "onnx": Tolerance(0.999, 1e-3),
    "onnx-fp16": Tolerance(0.99, 0.03, share=0.6),
    "onnx-int8": Tolerance(0.95, share=0.3),
    "litert": Tolerance(0.99, 0.03),
    "litert-int8": Tolerance(0.95, share=0.3),
    "openvino": Tolerance(0.99, 0.03),
}


@dataclass(frozen=True)
class Sample:
    """Chips for the comparison, uint8 (N, S, S[, 3]), with labels (N,) if they have any, and training chips that set 8-bit ranges."""

    name: str
    chips: NDArray[np.uint8]
    truth: NDArray[np.int64] | None = None
    calibration: NDArray[np.uint8] | None = None


def sample_of(spec: InputSpec, data: Dataset | None) -> Sample:
    """Return the validation split and training chips of a data set. Without a data set, return unlabelled crops of the bundled photo.

    If a data set has only training images, these are returned, because only the run knows which of them it held out.

    Raises:
        DataError: the data set has other labels than the model, or the model answers FER+'s labels and there are no votes.
    """
    if data is None:
        return Sample("crops of the demo photograph", demo_crops(spec))
    name = next(name for name in ("public", "val", "private", "test", "train") if len(data.rows(name)))
    if speaks_ferplus(data, spec.labels):
        split = ferplus_split(data, name, data.rows(name), spec.labels)
    else:
        split = select(data, name, spec.labels)
    train = data.rows("train")
    spread = train[np.linspace(0, len(train) - 1, min(CALIBRATION_CHIPS, len(train))).astype(int)]
    return Sample(TITLES[name].split(" (")[0], np.asarray(data.images[split.rows]), split.labels, np.asarray(data.images[spread]))


def demo_crops(spec: InputSpec, count: int = CROPS) -> NDArray[np.uint8]:
    """Return square crops of the bundled portrait, uint8 (count, S, S[, 3]). The face in them is large, small or cut off."""
    rng = np.random.default_rng(0)
    with Image.open(demo_photo()) as photo:
        picture = photo.convert("L" if spec.channels == 1 else "RGB")
    sides = rng.uniform(70, 300, count)
    corners = rng.uniform(-0.2, 0.2, (count, 2)) * sides[:, None] + (225, 120) - sides[:, None] / 2  # the face is around (225, 120)
    boxes = [(x, y, x + side, y + side) for (x, y), side in zip(corners, sides, strict=True)]
    size = (spec.chip_size, spec.chip_size)
    return np.stack([np.asarray(picture.transform(size, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)) for box in boxes])


@dataclass(frozen=True)
class Verdict:
    """The comparison of an export with its source. Accuracies are None without labels."""

    sample: str
    chips: int
    agreement: float
    max_probability_difference: float
    source_accuracy: float | None
    accuracy: float | None
    bytes: int
    float32_bytes: int

    @property
    def share(self) -> float:
        """Size of the export as a share of the size of the float32 graph."""
        return self.bytes / self.float32_bytes

    def faults(self, tolerance: Tolerance) -> list[str]:
        """Return one sentence for each value beyond the tolerance, or an empty list."""
        loss = 100 * (self.source_accuracy - self.accuracy) if self.source_accuracy is not None and self.accuracy is not None else 0.0
        checks = (
            (self.agreement < tolerance.agreement, f"{self.agreement:.2%} of answers agree, at least {tolerance.agreement:.1%} should"),
            (
                self.max_probability_difference > tolerance.difference,
                f"a probability differs by {self.max_probability_difference:.3g}, at most {tolerance.difference:g} is allowed",
            ),
            (loss > tolerance.loss_points, f"{loss:.2f} points of accuracy are lost, at most {tolerance.loss_points:g} may be"),
            (self.share > tolerance.share, f"it weighs {self.share:.1%} of float32, at most {tolerance.share:.0%} is allowed"),
        )
        return [text for bad, text in checks if bad]

    def to_dict(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return {**self.__dict__, "share": self.share}


def judge(source: NDArray[np.float32], export: Classifier, sample: Sample, float32_bytes: int) -> Verdict:
    """Return how the answers of an export compare with the logits (N, labels) of its source on ``sample``."""
    logits, temperature = export.logits(sample.chips), export.spec.temperature
    difference = np.abs(softmax(logits, temperature) - softmax(source, temperature)).max()
    right = [None if sample.truth is None else float((answer.argmax(1) == sample.truth).mean()) for answer in (source, logits)]
    return Verdict(
        sample.name,
        len(logits),
        float((logits.argmax(1) == source.argmax(1)).mean()),
        float(difference),
        right[0],
        right[1],
        sum(file.stat().st_size for file in export.bundle.model_files),
        float32_bytes,
    )
