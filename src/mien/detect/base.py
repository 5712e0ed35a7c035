"""Shared parts of the detectors: their result, their protocols, and the search of one frame at two scales."""

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
Look = Callable[[Frame], Rows]  # RGB view -> rows of its faces, in pixels of the view
ROW = 15

SMALLEST_SIDE = 256  # px; a face that fills a 48 px crop is found best at 4 to 6 times its size
COARSE_SIDE = 192  # px; the view for faces that fill the picture
LARGEST_FACE = 320  # px; both networks were trained on faces of 10 to 300 px; larger faces are right only in the coarse view
COARSE_SCORE = 0.6  # faces in the coarse view are large and score high; lower scores there are clutter
SAME_FACE_IOU = 0.4
# Below it, many boxes have no face and half of the labels are wrong (benchmarks.scenes): `uncertain`. Also in serve/page/private/detect.js.
SURE_FACE = 0.7
MAX_CANDIDATES = 5000  # best boxes of one view for NMS; a malicious picture can have very many
FINE_FACE = 96  # px; the smallest wanted face in the fine view: a large min_face is faster, but smaller views would lose faces


@dataclass(frozen=True)
class Detection:
    """One face: box and landmarks in pixels of the original frame, score in [0, 1].

    The landmarks are left eye, right eye, nose, left and right mouth corner, as seen when the face is upright. Near a border, landmarks
    may be outside the frame. The box is always inside.
    """

    box_xyxy: Box
    score: float
    landmarks: tuple[Point, ...]


class Detector(Protocol):
    """An object that finds faces. It must allow calls from several threads."""

    @property
    def name(self) -> str:
        """A short name for messages."""

    def detect(self, frame_rgb: Frame, min_face: float = 20) -> tuple[Detection, ...]:
        """Return the faces of an RGB frame, uint8 (H, W, 3), largest first. Their boxes have a shorter side of ``min_face`` px or more."""


@runtime_checkable
class NearDetector(Protocol):
    """A detector that can also search a picture at its own size, for callers that know the size of its faces."""

    def detect_near(self, view_rgb: Frame) -> tuple[Detection, ...]:
        """Return all faces of an RGB picture, uint8 (H, W, 3), largest first. It is searched once, without enlarging."""


@runtime_checkable
class ThoroughDetector(Protocol):
    """A detector that can search a picture in tiles, enlarged as much as the smallest wanted face needs."""

    def detect_thoroughly(self, frame_rgb: Frame, min_face: float) -> tuple[Detection, ...]:
        """Return the same as :meth:`Detector.detect`, from a search that finds faces of ``min_face`` px at any frame size."""


def search(frame_rgb: Frame, look: Look, max_side: int, min_face: float) -> tuple[Detection, ...]:
    """Return the faces that ``look`` finds in the frame and in a coarse copy of it, largest first.

    Args:
        frame_rgb: uint8 (H, W, 3).
        look: RGB view -> rows (N, 15) in pixels of that view.
        max_side: longer side of the largest view in pixels.
        min_face: shorter side of the smallest box that is returned, in pixels of the frame.

    Raises:
        UsageError: the frame is not uint8 (H, W, 3).
    """
    check_frame(frame_rgb)
    fine, coarse = two_views(frame_rgb, look, max_side, min_face)
    return detections(np.concatenate([fine, coarse]), frame_rgb, min_face)


def check_frame(frame_rgb: Frame) -> None:
    """Raise UsageError unless the frame is uint8 (H, W, 3) with at least one pixel."""
    if frame_rgb.dtype != np.uint8 or frame_rgb.ndim != 3 or frame_rgb.shape[2] != 3 or not frame_rgb.size:
        raise UsageError(f"expected a frame of uint8 (H, W, 3) with at least one pixel, got {frame_rgb.dtype} {frame_rgb.shape}")


def two_views(frame_rgb: Frame, look: Look, max_side: int, min_face: float) -> tuple[Rows, Rows]:
    """Return two arrays of rows in pixels of the frame, best first: those of a fine view, and the large faces of a coarse view."""
    longer = max(frame_rgb.shape[:2])
    side = view_side(longer, max_side, min_face)
    rows = _look_at_scale(frame_rgb, look, side)
    if side <= LARGEST_FACE:
        return rows, rows[:0]
    rows = rows[_longer_side(rows) * (side / longer) <= LARGEST_FACE]
    coarse = _look_at_scale(frame_rgb, look, COARSE_SIDE)
    return rows, coarse[coarse[:, 0] >= COARSE_SCORE]


def view_side(longer: int, max_side: int, min_face: float) -> int:
    """Return the longer side, in pixels, of the view for a search of the whole frame. ``longer`` is the longer side of the frame."""
    side = min(longer, max_side, round(longer * FINE_FACE / max(min_face, 1)))
    return max(side, min(SMALLEST_SIDE, max_side))


def detections(rows: Rows, frame_rgb: Frame, min_face: float) -> tuple[Detection, ...]:
    """Return the faces of rows (N, 15) in pixels of the frame, largest first, after NMS, without faces below ``min_face`` px."""
    height, width = frame_rgb.shape[:2]
    faces = [_detection(row, width, height) for row in rows[nms(rows[:, 1:5])]]
    return tuple(sorted((face for face in faces if min(_size(face.box_xyxy)) >= min_face), key=lambda face: -np.prod(_size(face.box_xyxy))))


def nms(boxes: NDArray[np.float64], threshold: float = SAME_FACE_IOU) -> NDArray[np.int64]:
    """Non-maximum suppression: return the indices of the boxes (N, 4) whose IoU with each kept earlier box is at most ``threshold``.

    Each kept box is compared with the boxes that are left, so memory grows with N and not with its square.

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
    """Return rows in pixels of the frame, best first, from a resized copy whose longer side is ``side`` px."""
    height, width = frame_rgb.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rows = look(resized(frame_rgb, size))
    rows[:, 1::2] *= width / size[0]
    rows[:, 2::2] *= height / size[1]
    return best_first(rows)


def best_first(rows: Rows) -> Rows:
    """Return at most :data:`MAX_CANDIDATES` rows (N, 15), by descending score."""
    return rows[np.argsort(-rows[:, 0], kind="stable")[:MAX_CANDIDATES]]


def _detection(row: NDArray[np.float64], width: int, height: int) -> Detection:
    x0, y0, x1, y1 = clip_boxes(row[1:5], width, height)[0].tolist()
    points = row[5:].reshape(5, 2).tolist()
    return Detection((x0, y0, x1, y1), float(row[0]), tuple((x, y) for x, y in points))


def _longer_side(rows: Rows) -> NDArray[np.float64]:
    return np.asarray((rows[:, 3:5] - rows[:, 1:3]).max(1), np.float64)


def _size(box: Box) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]
