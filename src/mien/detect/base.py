"""What the detectors share: their answer, their protocols, and the search of one frame at two scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Frame
from mien.detect.views import resized
from mien.errors import UsageError
from mien.geometry import clip_boxes
from mien.results import Box, Point

# One row per face in pixels of the searched view: score, box x0 y0 x1 y1, then x and y of the five landmarks.
Rows = NDArray[np.float64]
Look = Callable[[Frame], Rows]  # an RGB view -> the rows of its faces, in pixels of the view
ROW = 15

SMALLEST_SIDE = 256  # a face that fills a 48 px crop is found best at 4 to 6 times its size
COARSE_SIDE = 192  # the view for faces that fill the picture
LARGEST_FACE = 320  # both networks were trained on faces of 10 to 300 px; above that the coarse view is right and the fine one is not
COARSE_SCORE = 0.6  # faces in the coarse view are large and score high; what scores less there is clutter
SAME_FACE_IOU = 0.4
SURE_FACE = 0.7  # of the boxes that score less, many hold no face and half are not read rightly (benchmarks.scenes): `uncertain`
MAX_CANDIDATES = 5000  # boxes of one look that are compared with each other, the best ones; a picture made for it has any number
FINE_FACE = 96  # px of the smallest wanted face in the fine view: who wants large ones alone waits less; smaller views lose some


@dataclass(frozen=True)
class Detection:
    """One face: box and landmarks in pixels of the original frame, score in [0, 1].

    The landmarks are left eye, right eye, nose, left and right mouth corner as seen when the face is upright; near a border they may lie
    outside the frame, the box does not.
    """

    box_xyxy: Box
    score: float
    landmarks: tuple[Point, ...]


class Detector(Protocol):
    """Anything that finds faces; calls from several threads must be safe."""

    @property
    def name(self) -> str:
        """A short word for messages."""

    def detect(self, frame_rgb: Frame, min_face: float = 20) -> tuple[Detection, ...]:
        """Return the faces of an RGB frame, uint8 (H, W, 3), whose box is at least ``min_face`` px on its shorter side; largest first."""


@runtime_checkable
class NearDetector(Protocol):
    """A detector that can also look at a picture as it is, for callers that know how large its faces are."""

    def detect_near(self, view_rgb: Frame) -> tuple[Detection, ...]:
        """Return all faces of an RGB picture, uint8 (H, W, 3), searched once and without enlarging it; largest first."""


@runtime_checkable
class ThoroughDetector(Protocol):
    """A detector that can search a picture part by part, as closely as the smallest wanted face needs it."""

    def detect_thoroughly(self, frame_rgb: Frame, min_face: float) -> tuple[Detection, ...]:
        """Return what :meth:`Detector.detect` does, from a search that shows faces of ``min_face`` px at any frame size."""


def search(frame_rgb: Frame, look: Look, max_side: int, min_face: float) -> tuple[Detection, ...]:
    """Return the faces that ``look`` finds in the frame and in a coarse copy of it, largest first.

    Args:
        frame_rgb: uint8 (H, W, 3).
        look: RGB view -> rows (N, 15) in pixels of that view.
        max_side: longer side of the largest view in pixels.
        min_face: shorter side of the smallest box that is returned, in pixels of the frame.

    Raises:
        UsageError: the frame is not such an array.
    """
    check_frame(frame_rgb)
    fine, coarse = two_views(frame_rgb, look, max_side, min_face)
    return detections(np.concatenate([fine, coarse]), frame_rgb, min_face)


def check_frame(frame_rgb: Frame) -> None:
    """Raise UsageError unless the frame is uint8 (H, W, 3) with at least one pixel."""
    if frame_rgb.dtype != np.uint8 or frame_rgb.ndim != 3 or frame_rgb.shape[2] != 3 or not frame_rgb.size:
        raise UsageError(f"expected a frame of uint8 (H, W, 3) with at least one pixel, got {frame_rgb.dtype} {frame_rgb.shape}")


def two_views(frame_rgb: Frame, look: Look, max_side: int, min_face: float) -> tuple[Rows, Rows]:
    """Return rows in pixels of the frame, best first: of one view of the whole frame, and the large faces of a coarse one."""
    longer = max(frame_rgb.shape[:2])
    side = view_side(longer, max_side, min_face)
    rows = _look_at_scale(frame_rgb, look, side)
    if side <= LARGEST_FACE:
        return rows, rows[:0]
    rows = rows[_longer_side(rows) * (side / longer) <= LARGEST_FACE]
    coarse = _look_at_scale(frame_rgb, look, COARSE_SIDE)
    return rows, coarse[coarse[:, 0] >= COARSE_SCORE]


def view_side(longer: int, max_side: int, min_face: float) -> int:
    """Return the longer side of the one view in which a frame whose longer side is ``longer`` px is searched as a whole."""
    side = min(longer, max_side, round(longer * FINE_FACE / max(min_face, 1)))
    return max(side, min(SMALLEST_SIDE, max_side))


def detections(rows: Rows, frame_rgb: Frame, min_face: float) -> tuple[Detection, ...]:
    """Return the faces of rows (N, 15) in pixels of the frame, largest first: the first of those that overlap, none below ``min_face``."""
    height, width = frame_rgb.shape[:2]
    faces = [_detection(row, width, height) for row in rows[nms(rows[:, 1:5])]]
    return tuple(sorted((face for face in faces if min(_size(face.box_xyxy)) >= min_face), key=lambda face: -np.prod(_size(face.box_xyxy))))


def nms(boxes: NDArray[np.float64], threshold: float = SAME_FACE_IOU) -> NDArray[np.int64]:
    """Return the indices of the boxes (N, 4) that overlap no earlier kept box by more than ``threshold``: non-maximum suppression.

    One kept box at a time is compared with those that are left, so memory grows with N and not with its square.

    >>> nms(np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], float)).tolist()
    [0, 2]
    """
    x0, y0, x1, y1 = boxes.T
    area = (x1 - x0).clip(0) * (y1 - y0).clip(0)
    left = np.arange(len(boxes))
    kept: list[int] = []
    while len(left):
        first, left = left[0], left[1:]
        kept.append(int(first))
        wide = (np.minimum(x1[first], x1[left]) - np.maximum(x0[first], x0[left])).clip(0)
        high = (np.minimum(y1[first], y1[left]) - np.maximum(y0[first], y0[left])).clip(0)
        both = wide * high
        union = area[first] + area[left] - both
        left = left[np.divide(both, union, out=np.zeros_like(union), where=union > 0) <= threshold]
    return np.asarray(kept, np.int64)


def _look_at_scale(frame_rgb: Frame, look: Callable[[Frame], Rows], side: int) -> Rows:
    """Return rows in pixels of the frame, best first, found in a copy whose longer side is ``side``."""
    height, width = frame_rgb.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rows = look(resized(frame_rgb, size))
    rows[:, 1::2] *= width / size[0]
    rows[:, 2::2] *= height / size[1]
    return best_first(rows)


def best_first(rows: Rows) -> Rows:
    """Return rows (N, 15) by falling score, the best :data:`MAX_CANDIDATES` of them."""
    return rows[np.argsort(-rows[:, 0], kind="stable")[:MAX_CANDIDATES]]


def _detection(row: NDArray[np.float64], width: int, height: int) -> Detection:
    x0, y0, x1, y1 = clip_boxes(row[1:5], width, height)[0].tolist()
    points = row[5:].reshape(5, 2).tolist()
    return Detection((x0, y0, x1, y1), float(row[0]), tuple((x, y) for x, y in points))


def _longer_side(rows: Rows) -> NDArray[np.float64]:
    return np.asarray((rows[:, 3:5] - rows[:, 1:3]).max(1), np.float64)


def _size(box: Box) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]
