"""The face search of the pipeline in one frame: the minimum size of a face, how closely to search, and the turn of each face."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

from mien.arrays import Frame
from mien.detect.base import Detection, Detector, ThoroughDetector
from mien.detect.tiles import KEPT_SHARE
from mien.detect.turns import settled
from mien.errors import UsageError

AUTO: Literal["auto"] = "auto"
AUTO_SIDES = 96  # ``auto``: the longer side of a frame divided by its smallest face


@dataclass(frozen=True)
class Auto:
    """The meaning of ``auto``: every frame is searched once, as a whole, and faces below 1/96 of its longer side are left out.

    ``at_least`` is the minimum face size in small frames, in pixels.
    """

    at_least: float = 20.0


MinFace = float | Auto | Literal["auto"]


def check_min_face(min_face: object) -> float | Auto:
    """Return ``min_face`` as a number of pixels or as :class:`Auto`. Numbers may be given as text.

    Raises:
        UsageError: the value is neither ``auto`` nor a finite number of 1 or more.

    >>> check_min_face("12"), check_min_face("auto")
    (12.0, Auto(at_least=20.0))
    """
    if isinstance(min_face, Auto):
        return min_face
    if min_face == AUTO:
        return Auto()
    try:
        pixels = float(min_face)  # type: ignore[arg-type]  # other types raise, and the error is handled
    except (TypeError, ValueError):
        pixels = math.nan
    if not 1 <= pixels < math.inf:
        raise UsageError(f"min_face must be auto, or a number of pixels from 1, got {min_face}")
    return pixels


def least_px(min_face: float | Auto, width: int, height: int) -> float:
    """Return the minimum shorter side of a face in a frame of this size, in pixels.

    >>> least_px(Auto(), 1920, 1080), least_px(Auto(), 4800, 3600), least_px(12, 4800, 3600)
    (20.0, 50.0, 12)
    """
    return max(min_face.at_least, max(width, height) / AUTO_SIDES) if isinstance(min_face, Auto) else min_face


def kept_px(min_face: float | Auto, width: int, height: int) -> float:
    """Return the minimum shorter side of a box, in pixels. Boxes of one face vary in size, so a number is lowered by a tolerance.

    >>> kept_px(Auto(), 640, 480), kept_px(30, 640, 480)
    (20.0, 24.0)
    """
    return least_px(min_face, width, height) * (1 if isinstance(min_face, Auto) else KEPT_SHARE)


def size_note(min_face: float | Auto, width: int, height: int) -> tuple[str, ...]:
    """Return a note if the picture is so large that ``auto`` leaves out faces of 20 px, and else an empty tuple.

    >>> size_note(Auto(), 4000, 3000)
    ('faces smaller than 42 px are left out in a picture of this size; min_face 20 searches all of it closely',)
    """
    if not isinstance(min_face, Auto) or (least := least_px(min_face, width, height)) <= min_face.at_least:
        return ()
    return (
        f"faces smaller than {math.ceil(least)} px are left out in a picture of this size; "
        f"min_face {min_face.at_least:g} searches all of it closely",
    )


def find_faces(detector: Detector, frame_rgb: Frame, min_face: float | Auto = Auto()) -> tuple[Detection, ...]:
    """Return the faces of an RGB frame, uint8 (H, W, 3), largest first, including faces on their side or upside down.

    Args:
        detector: a :class:`~mien.detect.base.ThoroughDetector` searches as closely as a number in ``min_face`` needs; a
            :class:`~mien.detect.base.NearDetector` finds the turn of faces that may not be upright.
        frame_rgb: the frame.
        min_face: minimum shorter side of a face, in pixels; with :class:`Auto`, the frame is searched once, as a whole.

    Raises:
        UsageError: the frame is not uint8 (H, W, 3).
    """
    height, width = frame_rgb.shape[:2]
    least = least_px(min_face, width, height)
    closely = not isinstance(min_face, Auto) and isinstance(detector, ThoroughDetector)
    search = partial(detector.detect_thoroughly if closely else detector.detect, min_face=least)  # type: ignore[attr-defined]
    return settled(detector, frame_rgb, search(frame_rgb), search)
