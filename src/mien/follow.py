"""Every frame of a video -> its faces with their track ids, looking at the whole frame only now and then.

Between those looks, faces are searched where the tracker expects them: the surroundings of all known faces are laid side by side in one
small picture, and the detector runs once on that.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.detect import Detection, Detector
from mien.detect.base import distinct
from mien.errors import UsageError
from mien.results import Box
from mien.track import Tracker

Frame = NDArray[np.uint8]
DETECT_EVERY = 10  # frames; at 30 frames/s a newcomer waits a third of a second at most
LONGEST_STEP_S = 0.2  # frames further apart than this are looked at whole: people move too far
SURROUNDINGS = 2.0  # side of the square searched around a face, in sides of its box
SIDE_FEW, SIDE_MANY = 256, 320  # of the small picture in pixels, for up to FEW faces and for more
FEW, MANY = 4, 9  # with more faces than MANY the whole frame costs no more


class Follower:
    """Finds and numbers the faces of one video, frame by frame."""

    def __init__(self, detector: Detector, *, min_face: float = 20, detect_every: int = DETECT_EVERY) -> None:
        """Start with nobody known.

        Args:
            detector: what looks at pictures.
            min_face: shorter side of the smallest face, pixels.
            detect_every: look at the whole frame every so many frames, and at once when a face is not where it should be.

        Raises:
            UsageError: ``detect_every`` is below 1.
        """
        if detect_every < 1:
            raise UsageError(f"expected to look at the whole frame every 1 or more frames, got {detect_every}")
        self._detector, self._min_face, self._detect_every = detector, min_face, detect_every
        self._tracker = Tracker()
        self._since_whole = detect_every
        self._time_s = -math.inf

    def find(self, time_s: float, frame_rgb: Frame) -> tuple[tuple[Detection, int | None], ...]:
        """Return (face, track id) of every face in an RGB frame, uint8 (H, W, 3), largest first; see :meth:`mien.track.Tracker.update`."""
        self._since_whole += 1
        faces = None
        if self._since_whole < self._detect_every and time_s - self._time_s <= LONGEST_STEP_S:
            faces = self._near(frame_rgb, self._tracker.expected(time_s))
        if faces is None:
            faces = self._detector.detect(frame_rgb, min_face=self._min_face)
            self._since_whole = 0
        self._time_s = time_s
        boxes, scores = [face.box_xyxy for face in faces], [face.score for face in faces]
        return tuple(zip(faces, self._tracker.update(time_s, boxes, scores), strict=True))

    def _near(self, frame_rgb: Frame, expected: NDArray[np.float64]) -> tuple[Detection, ...] | None:
        """Return one face near each expected box (N, 4), or None where one is missing."""
        if len(expected) > MANY:
            return None
        if not len(expected):
            return ()
        windows = [_window(box, frame_rgb) for box in expected]
        across = math.ceil(math.sqrt(len(windows)))
        tile = (SIDE_FEW if len(windows) <= FEW else SIDE_MANY) // across
        mosaic = np.zeros((tile * across, tile * across, 3), np.uint8)
        for number, (x, y, side) in enumerate(windows):
            row, column = divmod(number, across)
            cut = Image.fromarray(frame_rgb[y : y + side, x : x + side])
            place = mosaic[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
            place[:] = np.asarray(cut.resize((tile, tile), Image.Resampling.BILINEAR, reducing_gap=2.0))
        nearest: dict[int, tuple[float, Detection]] = {}
        for face in self._detector.detect(mosaic, min_face=1):
            centre_x, centre_y = _centre(face.box_xyxy)
            number = int(centre_y // tile) * across + int(centre_x // tile)
            if number >= len(windows):
                continue
            moved = _moved(face, windows[number], tile, (number % across * tile, number // across * tile), frame_rgb)
            away = math.dist(_centre(moved.box_xyxy), _centre(expected[number]))
            if number not in nearest or away < nearest[number][0]:
                nearest[number] = (away, moved)
        faces = sorted((face for _, face in nearest.values()), key=lambda face: -_area(face.box_xyxy))
        large_enough = all(min(box[2] - box[0], box[3] - box[1]) >= self._min_face for box in (face.box_xyxy for face in faces))
        apart = len(distinct(np.array([face.box_xyxy for face in faces]).reshape(-1, 4))) == len(expected)
        return tuple(faces) if apart and large_enough else None


def _window(box: NDArray[np.float64], frame_rgb: Frame) -> tuple[int, int, int]:
    """Return x, y and side of the square around a box, inside the frame, in whole pixels."""
    height, width = frame_rgb.shape[:2]
    side = int(min(max(SURROUNDINGS * max(box[2] - box[0], box[3] - box[1]), 1), width, height))
    x, y = (box[:2] + box[2:] - side) / 2
    return int(min(max(x, 0), width - side)), int(min(max(y, 0), height - side)), side


def _moved(face: Detection, window: tuple[int, int, int], tile: int, corner_xy: tuple[int, int], frame_rgb: Frame) -> Detection:
    """Return a face of the small picture in pixels of the frame."""
    scale = window[2] / tile
    height, width = frame_rgb.shape[:2]

    def there(x: float, y: float) -> tuple[float, float]:
        return (x - corner_xy[0]) * scale + window[0], (y - corner_xy[1]) * scale + window[1]

    (x0, y0), (x1, y1) = there(*face.box_xyxy[:2]), there(*face.box_xyxy[2:])
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    return Detection(box, face.score, tuple(there(x, y) for x, y in face.landmarks))


def _centre(box: Box | NDArray[np.float64]) -> tuple[float, float]:
    return (float(box[0]) + float(box[2])) / 2, (float(box[1]) + float(box[3])) / 2


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
