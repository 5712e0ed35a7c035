"""Video frame -> its faces with their track ids. Only some frames are searched as a whole.

In the frames between, faces are searched where the tracker expects them: the surroundings of all known faces are placed side by side in
one small picture, and the detector runs once on this picture. Most searches for new faces are quick searches, in the smallest copy of the
frame in which the smallest wanted face is still visible. At a cut, all ids end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.arrays import Frame
from mien.detect import Detection, Detector
from mien.detect.base import NearDetector, nms
from mien.detect.find import Auto, find_faces, kept_px, least_px
from mien.detect.turns import quarter_turns, settled, turned_back
from mien.errors import UsageError
from mien.media.cuts import CutDetector
from mien.results import Box
from mien.track import Tracker

DETECT_EVERY = 5  # frames; at 30 frames/s a new face is found within 1/6 s, and a face that is hard to see within 2/3 s
CAREFUL_EVERY = 4  # one in this many searches of the whole frame is at full size, for faces that are hard to see
QUICK_SIDE, QUICK_FACE = 320, 8  # px: minimum of the longer side in a quick search, and the size of the smallest wanted face in it
MAX_STEP_S = 0.2  # frames with a longer time between them are searched whole, because people move too far
SURROUNDINGS = 1.6  # side of the square that is searched around a face, in sides of its box
TILE_ONE, TILE_FEW, TILE_MANY = 160, 128, 106  # px: side of one such square in the small picture, for 1, up to FEW, or more faces
FEW, MANY = 4, 9  # with more than MANY faces, searching the whole frame costs no more
MAX_CUT_STEP_S = 0.11  # frames further apart are not searched for cuts: fast motion changes them as much as a cut does


class FaceTracker:
    """Finds the faces of one video, frame by frame, and gives each a track id."""

    def __init__(
        self,
        detector: Detector,
        *,
        min_face: float | Auto = Auto(),
        detect_every: int = DETECT_EVERY,
        tracker: Tracker | None = None,
        cuts: CutDetector | None = None,
    ) -> None:
        """Start without any known face.

        Args:
            detector: finds the faces of a picture.
            min_face: minimum shorter side of a face, in pixels; with a number, a full search is as close as this size needs.
            detect_every: number of frames from one search for new faces to the next. The whole frame is also searched when a face is
                not where it is expected. With 1, every frame is searched at full size.
            tracker: gives the ids; a new :class:`~mien.track.Tracker` if None.
            cuts: finds the cuts, at which all ids end; a new :class:`~mien.media.cuts.CutDetector` if None.

        Raises:
            UsageError: ``detect_every`` is below 1.
        """
        if detect_every < 1:
            raise UsageError(f"expected to search the whole frame every 1 or more frames, got {detect_every}")
        self._detector, self._min_face, self._detect_every = detector, min_face, detect_every
        self._search = (
            detector.detect_near if isinstance(detector, NearDetector) else lambda view_rgb: detector.detect(view_rgb, min_face=1)
        )
        self._tracker, self._cuts = tracker or Tracker(), cuts or CutDetector()
        self.after_cut = False  # whether the last frame was the first one after a cut
        self._known: tuple[Detection, ...] = ()  # of the last frame
        self._frames = 0  # since the last search at full size
        self._time_s = -math.inf
        self._shape: tuple[int, ...] = ()  # of the last frame; in a folder of pictures, a frame of another size has another scene

    def find(self, time_s: float, frame_rgb: Frame) -> tuple[tuple[Detection, int | None], ...]:
        """Return (face, track id) of every face in an RGB frame, uint8 (H, W, 3), largest first; see :meth:`mien.track.Tracker.update`.

        At a cut, which ``after_cut`` tells afterwards, the whole frame is searched and all ids are new. A frame of another size than the
        one before counts as a cut, because it shows something else.
        """
        self._frames += 1
        changed = self._cuts.is_cut(frame_rgb) and time_s - self._time_s <= MAX_CUT_STEP_S
        self.after_cut = changed or (bool(self._shape) and frame_rgb.shape != self._shape)
        faces = None
        if self.after_cut:
            self._tracker.cut()
        elif self._frames < self._careful_after() and time_s - self._time_s <= MAX_STEP_S:
            faces = self._near(frame_rgb, self._tracker.expected(time_s))
        if faces is None:
            faces = find_faces(self._detector, frame_rgb, self._min_face)
            self._frames = 0
        elif self._frames % self._detect_every == 0:
            faces = self._with_newcomers(faces, frame_rgb)
        self._time_s, self._shape, self._known = time_s, frame_rgb.shape, faces
        boxes, scores = [face.box_xyxy for face in faces], [face.score for face in faces]
        return tuple(zip(faces, self._tracker.update(time_s, boxes, scores), strict=True))

    def _careful_after(self) -> float:
        """Return the number of frames from one search at full size to the next; the first frame is always searched at full size."""
        if math.isinf(self._time_s) or self._detect_every == 1:
            return 1
        return CAREFUL_EVERY * self._detect_every

    def _with_newcomers(self, known: tuple[Detection, ...], frame_rgb: Frame) -> tuple[Detection, ...]:
        """Return the known faces of a frame and the new ones that a quick search finds, largest first."""
        height, width = frame_rgb.shape[:2]
        least = least_px(self._min_face, width, height)
        scale = max(QUICK_SIDE / max(width, height), QUICK_FACE / least)
        if scale >= 1:
            seen = self._detector.detect(frame_rgb, min_face=least)
        else:
            size = (max(1, round(scale * width)), max(1, round(scale * height)))
            copy = np.asarray(Image.fromarray(frame_rgb).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
            found = self._detector.detect(copy, min_face=scale * least)
            seen = tuple(_moved(face, (width / size[0], height / size[1]), (0, 0), (0, 0), frame_rgb.shape) for face in found)
        faces = [*known, *seen]
        kept = nms(np.array([face.box_xyxy for face in faces]).reshape(-1, 4))
        newcomers = settled(self._detector, frame_rgb, [faces[i] for i in kept if i >= len(known)])
        return _largest_first([*(faces[i] for i in kept if i < len(known)), *newcomers])

    def _near(self, frame_rgb: Frame, expected: NDArray[np.float64]) -> tuple[Detection, ...] | None:
        """Return one face near each expected box (N, 4), or None if one of the faces is missing."""
        if len(expected) > MANY:
            return None
        if not len(expected):
            return ()
        windows = [_window(box, frame_rgb) for box in expected]
        turns = [self._turns_of(box) for box in expected]  # a face on its side is turned upright for the search
        across = math.ceil(math.sqrt(len(windows)))
        tile = TILE_ONE if len(windows) == 1 else TILE_FEW if len(windows) <= FEW else TILE_MANY
        mosaic = np.zeros((tile * math.ceil(len(windows) / across), tile * across, 3), np.uint8)
        for number, (x, y, side) in enumerate(windows):
            row, column = divmod(number, across)
            cut = Image.fromarray(np.rot90(frame_rgb[y : y + side, x : x + side], turns[number]))
            place = mosaic[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
            place[:] = np.asarray(cut.resize((tile, tile), Image.Resampling.BILINEAR, reducing_gap=2.0))
        nearest: dict[int, tuple[float, Detection]] = {}
        for seen in self._search(mosaic):
            face = seen
            centre_x, centre_y = _centre(face.box_xyxy)
            number = int(centre_y // tile) * across + int(centre_x // tile)
            if number >= len(windows):
                continue
            x, y, side = windows[number]
            corner_xy = (number % across * tile, number // across * tile)
            if turns[number]:
                upright = _moved(face, (1, 1), corner_xy, (0, 0), (tile, tile))
                face, corner_xy = turned_back(upright, turns[number], (tile, tile)), (0, 0)
            moved = _moved(face, (side / tile, side / tile), corner_xy, (x, y), frame_rgb.shape)
            away = math.dist(_centre(moved.box_xyxy), _centre(expected[number]))
            if number not in nearest or away < nearest[number][0]:
                nearest[number] = (away, moved)
        faces = _largest_first(face for _, face in nearest.values())
        least = kept_px(self._min_face, frame_rgb.shape[1], frame_rgb.shape[0])
        large_enough = all(min(box[2] - box[0], box[3] - box[1]) >= least for box in (face.box_xyxy for face in faces))
        apart = len(nms(np.array([face.box_xyxy for face in faces]).reshape(-1, 4))) == len(expected)
        return faces if apart and large_enough else None

    def _turns_of(self, expected: NDArray[np.float64]) -> int:
        """Return the number of quarter turns that make the last frame's face nearest to a box upright."""
        nearest = min(self._known, key=lambda face: math.dist(_centre(face.box_xyxy), _centre(expected)), default=None)
        return quarter_turns(nearest.landmarks) if nearest else 0


def _window(box: NDArray[np.float64], frame_rgb: Frame) -> tuple[int, int, int]:
    """Return x, y and side of the square around a box, in whole pixels and inside the frame."""
    height, width = frame_rgb.shape[:2]
    side = int(min(max(SURROUNDINGS * max(box[2] - box[0], box[3] - box[1]), 1), width, height))
    x, y = (box[:2] + box[2:] - side) / 2
    return int(min(max(x, 0), width - side)), int(min(max(y, 0), height - side)), side


def _moved(
    face: Detection, scale_xy: tuple[float, float], from_xy: tuple[int, int], to_xy: tuple[int, int], shape: tuple[int, ...]
) -> Detection:
    """Return a face of a smaller picture in pixels of a frame of ``shape`` (H, W, ...). ``from_xy`` there is ``to_xy`` in the frame."""
    height, width = shape[:2]

    def there(x: float, y: float) -> tuple[float, float]:
        return (x - from_xy[0]) * scale_xy[0] + to_xy[0], (y - from_xy[1]) * scale_xy[1] + to_xy[1]

    (x0, y0), (x1, y1) = there(*face.box_xyxy[:2]), there(*face.box_xyxy[2:])
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    return Detection(box, face.score, tuple(there(x, y) for x, y in face.landmarks))


def _largest_first(faces: Iterable[Detection]) -> tuple[Detection, ...]:
    return tuple(sorted(faces, key=lambda face: -_area(face.box_xyxy)))


def _centre(box: Box | NDArray[np.float64]) -> tuple[float, float]:
    return (float(box[0]) + float(box[2])) / 2, (float(box[1]) + float(box[3])) / 2


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
