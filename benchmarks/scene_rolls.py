"""Measures turned faces: the scenes of benchmarks.scenes are turned as a whole and compared with the same scenes upright."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.scenes import Scene, match
from benchmarks.timing import markdown
from mien.geometry import Floats, transform
from mien.pipeline import Pipeline
from mien.results import Face

ROLLS_DEG = (0, 15, 30, 45, 60, 75, 90, 105, 120, 135, 150, 165, 180)
HEAD = ("turned by", "found, %", "right and sure, %", "wrong and sure, %", "uncertain, %", "sure upright", "another sure label, % of these")
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Turned:
    """The result for one face at one roll. ``face`` is None if it was not found. ``upright`` is the answer at roll 0."""

    truth: str
    face: Face | None
    upright: Face | None


def measure(
    pipeline: Pipeline, labels: Sequence[str], made: Iterable[Scene], rolls_deg: Sequence[int] = ROLLS_DEG
) -> dict[int, list[Turned]]:
    """Return, for each roll in degrees, one entry per face of the scenes. ``labels`` are the labels of the pasted images."""
    outcomes: dict[int, list[Turned]] = {roll: [] for roll in rolls_deg}
    for scene in made:
        upright = match(scene.faces, pipeline.analyze(scene.frame_rgb).faces)
        for roll in rolls_deg:
            frame, there = turned(scene.frame_rgb, roll)
            faces = match_turned(scene, there, pipeline.analyze(frame).faces)
            outcomes[roll] += [
                Turned(labels[pasted.row], face, before) for pasted, face, before in zip(scene.faces, faces, upright, strict=True)
            ]
    return outcomes


def turned(frame_rgb: Frame, degrees: int) -> tuple[Frame, Floats]:
    """Return the frame, turned counter-clockwise on a larger grey frame, and the matrix (2, 3) from old to new pixels."""
    height, width = frame_rgb.shape[:2]
    image = Image.fromarray(frame_rgb).rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(110, 110, 110))
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cosine, sine], [-sine, cosine]])
    shift = np.array([image.width / 2, image.height / 2]) - turn @ (width / 2, height / 2)
    return np.asarray(image), np.column_stack([turn, shift])


def match_turned(scene: Scene, there: Floats, faces: Sequence[Face]) -> list[Face | None]:
    """Return, for each pasted face, the detection whose centre is nearest and within a third of the face's width, or None."""
    matched: list[Face | None] = []
    for pasted in scene.faces:
        x0, y0, x1, y1 = pasted.box_xyxy
        (centre,) = transform(there, [((x0 + x1) / 2, (y0 + y1) / 2)])
        away = [math.dist(centre, ((f.box_xyxy[0] + f.box_xyxy[2]) / 2, (f.box_xyxy[1] + f.box_xyxy[3]) / 2)) for f in faces]
        nearest = int(np.argmin(away)) if away else None
        matched.append(faces[nearest] if nearest is not None and away[nearest] < (x1 - x0) / 3 else None)
    return matched


def rows(outcomes: dict[int, list[Turned]]) -> list[tuple[object, ...]]:
    """Return the rows of the table, one per roll. Shares are of all faces, except in the last column."""
    table: list[tuple[object, ...]] = []
    for roll, entries in outcomes.items():
        found = [entry.face for entry in entries if entry.face]
        sure = [entry for entry in entries if entry.face and not entry.face.uncertain]
        right = sum(entry.face is not None and entry.face.top == entry.truth for entry in sure)
        before = [entry for entry in entries if entry.upright and not entry.upright.uncertain]
        other = sum(
            entry.face is not None and entry.upright is not None and not entry.face.uncertain and entry.face.top != entry.upright.top
            for entry in before
        )
        shares = (len(found), right, len(sure) - right, len(found) - len(sure))
        table.append(
            (
                f"{roll} degrees",
                *(f"{100 * share / max(1, len(entries)):.1f}" for share in shares),
                len(before),
                f"{100 * other / max(1, len(before)):.1f}",
            )
        )
    return table


def table(outcomes: dict[int, list[Turned]]) -> str:
    """Return the table as Markdown."""
    return markdown(HEAD, rows(outcomes))
