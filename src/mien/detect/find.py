"""The search of one frame as the pipeline does it: how small a face may be, how closely to look, and which way faces stand."""

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
AUTO_SIDES = 96  # how often the smallest face of ``auto`` goes into the longer side of a frame


@dataclass(frozen=True)
class Auto:
    """What ``auto`` means: every frame is searched once, as a whole, and faces below a 96th of its longer side do not count.

    ``at_least`` is the limit in small frames, pixels.
    """

    at_least: float = 20.0


MinFace = float | Auto | Literal["auto"]


def check_min_face(min_face: object) -> float | Auto:
    """Return what ``min_face`` says: a number of pixels, or ``auto``; numbers may be written as text.

    Raises:
        UsageError: it is neither ``auto`` nor a finite number of 1 or more.

    >>> check_min_face("12"), check_min_face("auto")
    (12.0, Auto(at_least=20.0))
    """
    if isinstance(min_face, Auto):
        return min_face
    if min_face == AUTO:
        return Auto()
    try:
        pixels = float(min_face)  # type: ignore[arg-type]  # what it does not take is an error of its own
    except (TypeError, ValueError):
        pixels = math.nan
    if not 1 <= pixels < math.inf:
        raise UsageError(f"min_face must be auto, or a number of pixels from 1, got {min_face}")
    return pixels


def least_px(min_face: float | Auto, width: int, height: int) -> float:
    """Return the shorter side of the smallest face that counts in a frame of this size, pixels.

    >>> least_px(Auto(), 1920, 1080), least_px(Auto(), 4800, 3600), least_px(12, 4800, 3600)
    (20.0, 50.0, 12)
    """
    return max(min_face.at_least, max(width, height) / AUTO_SIDES) if isinstance(min_face, Auto) else min_face


def kept_px(min_face: float | Auto, width: int, height: int) -> float:
    """Return the shorter side of the smallest box that counts: the boxes of one face vary, and a number leaves room for that.

    >>> kept_px(Auto(), 640, 480), kept_px(30, 640, 480)
    (20.0, 24.0)
    """
    return least_px(min_face, width, height) * (1 if isinstance(min_face, Auto) else KEPT_SHARE)


def size_note(min_face: float | Auto, width: int, height: int) -> tuple[str, ...]:
    """Return the sentence for a picture so large that ``auto`` leaves out faces of 20 px; none for others.

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
    """Return the faces of an RGB frame, uint8 (H, W, 3), largest first, also those that stand on their side or head.

    Args:
        detector: a :class:`~mien.detect.base.ThoroughDetector` searches as closely as a number in ``min_face`` asks; a
            :class:`~mien.detect.base.NearDetector` finds the turn of faces that are not surely upright.
        frame_rgb: the frame.
        min_face: shorter side of the smallest face, pixels; with :class:`Auto`, the frame is searched once, as a whole.

    Raises:
        UsageError: the frame is no such array.
    """
    height, width = frame_rgb.shape[:2]
    least = least_px(min_face, width, height)
    closely = not isinstance(min_face, Auto) and isinstance(detector, ThoroughDetector)
    search = partial(detector.detect_thoroughly if closely else detector.detect, min_face=least)  # type: ignore[attr-defined]
    return settled(detector, frame_rgb, search(frame_rgb), search)
