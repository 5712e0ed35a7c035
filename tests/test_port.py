"""The contract as docs/edge.md words it, in plain Python: a port from the page alone gets the library's chips and answers.

``python -m tests.test_port`` writes the worked example that the page names, tests/golden/port.json, anew.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.align import chip
from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.contract import InputSpec, template_for
from mien.geometry import similarity, transform
from mien.media.images import read_photo

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "port.json"
PHOTO = "src/mien/assets/astronaut.jpg"
# Both eyes, nose and corners of the mouth in PHOTO, as the detector has them.
LANDMARKS = [(200.19, 101.8), (246.86, 102.55), (220.11, 124.31), (198.84, 142.37), (239.6, 143.38)]
GREY = InputSpec("tiny", "1.0")
COLOUR = GREY.updated(chip_size=32, channels=3, template=template_for(32))
Point = tuple[float, float]


class Port:
    """One face's way from the picture to the chip; names are those of the page."""

    def __init__(self, points: list[Point], spec: InputSpec) -> None:
        """Steps 2 and 3: the transform, and the grid of squares."""
        (mx, my), (tx, ty) = mean_point(points), mean_point(list(spec.template))
        pairs = [(x - mx, y - my, u - tx, v - ty) for (x, y), (u, v) in zip(points, spec.template, strict=True)]
        spread = sum(x * x + y * y for x, y, _, _ in pairs)
        self.a = sum(x * u + y * v for x, y, u, v in pairs) / spread
        self.b = sum(x * v - y * u for x, y, u, v in pairs) / spread
        self.shift = (tx - self.a * mx + self.b * my, ty - self.b * mx - self.a * my)
        scale = 1 / math.hypot(self.a, self.b)
        corners = [self.back(u, v) for u in (0, spec.chip_size) for v in (0, spec.chip_size)]
        self.x0 = math.floor(min(x for x, _ in corners) - 2 - 2 * scale)
        self.y0 = math.floor(min(y for _, y in corners) - 2 - 2 * scale)
        self.n = max(1, int(scale))
        self.side, self.channels = spec.chip_size, spec.channels

    def back(self, u: float, v: float) -> Point:
        """A place of the chip, in the picture."""
        u, v, square = u - self.shift[0], v - self.shift[1], self.a**2 + self.b**2
        return (self.a * u + self.b * v) / square, (self.a * v - self.b * u) / square

    def chip(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Steps 3 and 4: every pixel of the chip."""
        pixels = [[self.pixel(frame, *self.back(column + 0.5, row + 0.5)) for column in range(self.side)] for row in range(self.side)]
        return np.array(pixels, np.uint8)

    def pixel(self, frame: NDArray[np.uint8], x: float, y: float) -> int | list[int]:
        """Bilinear between the four squares around a place; the fraction is dropped."""
        x, y = (x - self.x0) / self.n - 0.5, (y - self.y0) / self.n - 0.5
        i, j = math.floor(x), math.floor(y)
        fx, fy = x - i, y - j
        corners = zip(*(self.square(frame, i + di, j + dj) for dj in (0, 1) for di in (0, 1)), strict=True)
        mixed = [int((p * (1 - fx) + q * fx) * (1 - fy) + (r * (1 - fx) + s * fx) * fy) for p, q, r, s in corners]
        return mixed if self.channels == 3 else mixed[0]

    def square(self, frame: NDArray[np.uint8], i: int, j: int) -> list[int]:
        """The mean of n x n pixels, rounded half up, a value a channel."""
        height, width = frame.shape[:2]
        rows = [min(max(self.y0 + j * self.n + k, 0), height - 1) for k in range(self.n)]
        columns = [min(max(self.x0 + i * self.n + k, 0), width - 1) for k in range(self.n)]
        colours = [[int(value) for value in frame[y, x]] for y in rows for x in columns]
        if self.channels == 1:
            colours = [[(19595 * red + 38470 * green + 7471 * blue + 32768) >> 16] for red, green, blue in colours]
        return [(sum(channel) + self.n**2 // 2) // self.n**2 for channel in zip(*colours, strict=True)]


def mean_point(points: list[Point]) -> Point:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def answer(logits: list[float], spec: InputSpec) -> tuple[dict[str, float], bool]:
    """Steps 6 and 7: probabilities, and whether they are too low to say."""
    odds = [math.exp((value - max(logits)) / spec.temperature) for value in logits]
    probabilities = {label: value / sum(odds) for label, value in zip(spec.labels, odds, strict=True)}
    return probabilities, max(probabilities.values()) < spec.uncertain_below


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey-48", "colour-32"])
@pytest.mark.parametrize(
    ("scale", "roll_deg", "centre"),
    [
        pytest.param(0.6, 10, (150, 150), id="enlarged"),
        pytest.param(1, 0, (150, 150), id="as-it-is"),
        pytest.param(1.9, -35, (150, 150), id="just-under-two"),
        pytest.param(2.4, 80, (150, 150), id="squares-of-two"),
        pytest.param(3.7, 200, (150, 150), id="upside-down"),
        pytest.param(3.2, 20, (10, 290), id="over-the-corner"),
    ],
)
def test_a_port_from_the_page_gets_the_librarys_chips(spec: InputSpec, scale: float, roll_deg: float, centre: Point) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (300, 300, 3), dtype=np.uint8)  # where the squares begin shows in every pixel
    turn = scale * np.array([[math.cos(a := math.radians(roll_deg)), -math.sin(a)], [math.sin(a), math.cos(a)]])
    wobble = np.random.default_rng(2).normal(0, scale, (5, 2))  # no face has the template's exact shape
    points = [(x, y) for x, y in ((np.array(spec.template) - spec.chip_size / 2) @ turn.T + centre + wobble).tolist()]
    difference = np.abs(Port(points, spec).chip(frame).astype(int) - chip(frame, points, spec))
    assert difference.max() <= 1


def test_the_worked_example_is_the_librarys(golden: dict[str, Any]) -> None:
    bundle, frame = open_bundle(), read_photo(ROOT / golden["photo"]).frame_rgb
    assert golden["model_sha256"] == bundle.spec.model_sha256, "another default: python -m tests.test_port"
    made = chip(frame, golden["landmarks"], bundle.spec)
    assert np.abs(made.astype(int) - golden["chip"]).max() <= 2  # decoders of JPEG differ
    assert transform(golden["to_chip"], golden["landmarks"]) == pytest.approx(
        transform(similarity(golden["landmarks"], bundle.spec.template), golden["landmarks"]), abs=1e-3
    )
    given = np.array([golden["chip"]], np.uint8)
    assert Classifier(bundle).logits(given)[0] == pytest.approx(golden["logits"], abs=1e-3)
    probabilities = dict(zip(bundle.spec.labels, Classifier(bundle).probabilities(given)[0].tolist(), strict=True))
    assert golden["probabilities"] == pytest.approx(probabilities, abs=1e-3)


def test_a_port_from_the_page_gets_the_worked_example(golden: dict[str, Any]) -> None:
    port = Port([(x, y) for x, y in golden["landmarks"]], spec := open_bundle().spec)
    assert {"x0": port.x0, "y0": port.y0, "n": port.n} == golden["squares"]
    made = port.chip(read_photo(ROOT / golden["photo"]).frame_rgb)
    assert np.abs(made.astype(int) - golden["chip"]).max() <= 2
    probabilities, uncertain = answer(golden["logits"], spec)
    assert probabilities == pytest.approx(golden["probabilities"], abs=1e-4)
    assert uncertain is golden["uncertain"]


def test_the_page_names_the_worked_example() -> None:
    assert str(GOLDEN.relative_to(ROOT)) in (ROOT / "docs" / "edge.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return values


def worked_example() -> dict[str, Any]:
    """Return every number on the way of one face, from the library."""
    bundle, frame = open_bundle(), read_photo(ROOT / PHOTO).frame_rgb
    spec, port = bundle.spec, Port(LANDMARKS, bundle.spec)
    made = chip(frame, LANDMARKS, spec)
    (logits,) = Classifier(bundle).logits(made[None]).tolist()
    probabilities, uncertain = answer(logits, spec)
    return {
        "photo": PHOTO,
        "model": f"{spec.name} {spec.version}",
        "model_sha256": spec.model_sha256,
        "landmarks": LANDMARKS,
        "to_chip": similarity(LANDMARKS, spec.template).round(6).tolist(),
        "squares": {"x0": port.x0, "y0": port.y0, "n": port.n},
        "chip": made.tolist(),
        "logits": [round(value, 5) for value in logits],
        "probabilities": {label: round(value, 5) for label, value in probabilities.items()},
        "uncertain": uncertain,
    }


if __name__ == "__main__":
    spread = json.dumps(worked_example(), indent=1)
    GOLDEN.write_text(re.sub(r"\[\s+([^][]*?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", spread) + "\n", encoding="utf-8")
