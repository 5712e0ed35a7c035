"""Faces on their side or upside down. The detector knows only upright faces, and gives other faces the landmarks of an upright one.

A face that may not be upright is searched again in eight turns, and the scores show which turn is right. For 100 faces in photos turned by
45 to 180 degrees, the best score was always within 45 degrees of the true turn (``python -m benchmarks.scenes --part rolls``). The faces of
a photo usually have the same turn, so after one turned face the whole picture is searched in that turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from mien.arrays import Frame
from mien.contract import template_for
from mien.detect.base import SAME_FACE_IOU, SURE_FACE, Detection, NearDetector, nms
from mien.geometry import Floats, iou, similarity, transform
from mien.results import Box, Point

SURE_UPRIGHT = 0.91  # of 100 upside-down faces, one scores as high as this
MAX_LOOKS = 4  # faces per picture that are searched again: those that may not be upright, highest scores first
TURNS_DEG = tuple(range(0, 360, 45))
LOOK_SIDE, SURROUNDINGS = 96, 1.8  # px of one view, and its side divided by the longer side of the face's box
OTHER_DEG, OPPOSED_DEG = 30.0, 75.0  # two turns within the first agree; beyond the second, one of them is wrong
MIN_SCORE, MIN_GAIN = 0.75, 0.02  # minimum score of the best view, and its minimum lead over views that agree with the landmarks
MAX_LOSS = 0.05  # the best view may score this much less than the face itself: smaller views score a little less
DOUBTFUL = SURE_FACE - 0.01  # the score of a face with two turns that are about equally likely
NEAR_QUARTER_DEG = 30.0  # within this of a quarter turn, the whole picture may be turned

Search = Callable[[Frame], Sequence[Detection]]


def settled(detector: object, frame_rgb: Frame, faces: Sequence[Detection], search: Search | None = None) -> tuple[Detection, ...]:
    """Return the faces of a frame, largest first. Turned faces have corrected landmarks.

    An upright face stays unchanged. A face with two turns that are about equally likely has a score of at most :data:`DOUBTFUL`.

    Args:
        detector: the detector of the faces. If it is not a :class:`~mien.detect.base.NearDetector`, the faces stay unchanged.
        frame_rgb: uint8 (H, W, 3).
        faces: the detected faces of the frame.
        search: finds the faces of a whole frame. It is called if the faces have a quarter or half turn, and never if None.
    """
    if not isinstance(detector, NearDetector):
        return tuple(faces)
    asked = sorted((i for i, face in enumerate(faces) if face.score < SURE_UPRIGHT), key=lambda i: -faces[i].score)[:MAX_LOOKS]
    if not asked:
        return tuple(faces)
    out = list(faces)
    quarters = []
    for index, seen in zip(asked, _looks(detector, frame_rgb, [faces[i] for i in asked]), strict=True):
        out[index], turned = _judged(faces[index], seen)
        if turned and (quarter := _quarter(out[index].landmarks)):
            quarters.append(quarter)
    if search and quarters:
        quarter = max(sorted(set(quarters)), key=quarters.count)
        again = [turned_back(face, quarter, frame_rgb.shape) for face in search(np.rot90(frame_rgb, quarter)) if face.score >= SURE_FACE]
        return _best_of(out, again)
    return tuple(sorted(out, key=_falling_area))


def quarter_turns(landmarks: ArrayLike) -> int:
    """Return how many times, 0 to 3, ``np.rot90`` must turn a frame until a face with these landmarks (5, 2) is about upright.

    >>> upright = np.array(template_for(48))
    >>> quarter_turns(upright), quarter_turns(48 - upright)
    (0, 2)
    """
    return round(-roll_deg(landmarks) / 90) % 4


def roll_deg(landmarks: ArrayLike) -> float:
    """Return the clockwise turn in degrees, -180 to 180, that makes a face with these landmarks (5, 2) upright.

    Invalid landmarks, which coincide or are not finite, give 0.
    """
    try:
        matrix = similarity(landmarks, template_for(48))
    except ValueError:
        return 0.0
    return math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))


def _quarter(landmarks: ArrayLike) -> int:
    off = abs((roll_deg(landmarks) + 45) % 90 - 45)
    return quarter_turns(landmarks) if off <= NEAR_QUARTER_DEG else 0


def _looks(detector: NearDetector, frame_rgb: Frame, faces: Sequence[Detection]) -> list[list[Detection | None]]:
    """Return, per face, the detection in each of :data:`TURNS_DEG`, in pixels of the frame, from one call of the detector."""
    mosaic = np.zeros((LOOK_SIDE * len(faces), LOOK_SIDE * len(TURNS_DEG), 3), np.uint8)
    to_frame = [[_cut(frame_rgb, face.box_xyxy, turn) for turn in TURNS_DEG] for face in faces]
    for row, looks in enumerate(to_frame):
        for column, (view, _) in enumerate(looks):
            mosaic[row * LOOK_SIDE : (row + 1) * LOOK_SIDE, column * LOOK_SIDE : (column + 1) * LOOK_SIDE] = view
    best: list[list[Detection | None]] = [[None] * len(TURNS_DEG) for _ in faces]
    for seen in detector.detect_near(mosaic):
        x0, y0, x1, y1 = seen.box_xyxy
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        column, row = int(x // LOOK_SIDE), int(y // LOOK_SIDE)
        if math.dist((x % LOOK_SIDE, y % LOOK_SIDE), (LOOK_SIDE / 2, LOOK_SIDE / 2)) > LOOK_SIDE / 4:
            continue
        rival = best[row][column]
        if rival is None or seen.score > rival.score:
            corner = (column * LOOK_SIDE, row * LOOK_SIDE)
            best[row][column] = _in_frame(seen, corner, to_frame[row][column][1], TURNS_DEG[column], frame_rgb.shape)
    return best


def _cut(frame_rgb: Frame, box: Box, turn_deg: float) -> tuple[Frame, Floats]:
    """Return the area around a face, turned by ``turn_deg``: a square of LOOK_SIDE px, and the matrix (2, 3) from it to the frame."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    scale = SURROUNDINGS * max(box[2] - box[0], box[3] - box[1]) / LOOK_SIDE  # frame pixels per pixel of the view
    angle = math.radians(turn_deg)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([LOOK_SIDE / 2, LOOK_SIDE / 2])
    to_frame = np.column_stack([turn, np.array([x, y]) - turn @ middle])
    reach = scale * LOOK_SIDE * 0.71 + 2
    height, width = frame_rgb.shape[:2]
    left, top = max(0, math.floor(x - reach)), max(0, math.floor(y - reach))
    patch = Image.fromarray(frame_rgb[top : min(height, math.ceil(y + reach)), left : min(width, math.ceil(x + reach))])
    step = max(1, int(scale))
    matrix = to_frame - np.array([[0, 0, left], [0, 0, top]])
    if step > 1:
        patch, matrix = patch.reduce(step), matrix / step
    size = (LOOK_SIDE, LOOK_SIDE)
    return np.asarray(patch.transform(size, Image.Transform.AFFINE, matrix.ravel().tolist(), Image.Resampling.BILINEAR)), to_frame


def _in_frame(seen: Detection, corner_xy: tuple[int, int], to_frame: Floats, turn_deg: int, shape: tuple[int, ...]) -> Detection:
    """Return a face of a view in pixels of the frame. The box keeps its size; a quarter turn swaps width and height."""
    x0, y0, x1, y1 = np.array(seen.box_xyxy) - np.tile(corner_xy, 2)
    (centre,) = transform(to_frame, [((x0 + x1) / 2, (y0 + y1) / 2)])
    scale = math.hypot(to_frame[0, 0], to_frame[1, 0])
    half = np.array([x1 - x0, y1 - y0]) * scale / 2
    if turn_deg % 180 == 90:
        half = half[::-1]
    low, high = np.clip([centre - half, centre + half], 0, (shape[1], shape[0])).tolist()
    points = transform(to_frame, np.array(seen.landmarks) - corner_xy)
    return Detection((*low, *high), seen.score, tuple((float(px), float(py)) for px, py in points))


def _judged(face: Detection, seen: Sequence[Detection | None]) -> tuple[Detection, bool]:
    """Return the face from its best view, and whether its turn there differs from that of its own landmarks."""
    looks = [look for look in seen if look]
    best = max(looks, key=lambda look: look.score, default=None)
    if best is None or best.score < face.score - MAX_LOSS:
        return face, False
    others = max((look.score for look in looks if _apart_deg(look, best) >= OPPOSED_DEG), default=0.0)
    torn = best.score - others < MIN_GAIN
    if _apart_deg(best, face) >= OTHER_DEG:
        rival = max((look.score for look in looks if _apart_deg(look, face) < OTHER_DEG), default=0.0)
        if best.score >= MIN_SCORE and best.score - rival >= MIN_GAIN and not torn:
            return best, True
        torn = True
    return (replace(face, score=min(face.score, DOUBTFUL)) if torn else face), False


def _best_of(faces: Sequence[Detection], again: Sequence[Detection]) -> tuple[Detection, ...]:
    """Merge two searches: keep the higher score at each place, largest face first. Two turns with about equal scores are doubtful."""
    both = sorted([*faces, *again], key=lambda face: -face.score)
    boxes = np.array([face.box_xyxy for face in both]).reshape(-1, 4)
    out = []
    for index in nms(boxes):
        face = both[index]
        rivals = np.flatnonzero(iou(boxes[index], boxes)[0] > SAME_FACE_IOU)
        if any(face.score - both[i].score < MIN_GAIN and _apart_deg(both[i], face) >= OTHER_DEG for i in rivals):
            face = replace(face, score=min(face.score, DOUBTFUL))
        out.append(face)
    return tuple(sorted(out, key=_falling_area))


def _apart_deg(one: Detection, other: Detection) -> float:
    turn = abs(roll_deg(one.landmarks) - roll_deg(other.landmarks)) % 360
    return min(turn, 360 - turn)


def turned_back(face: Detection, quarter: int, shape: tuple[int, ...]) -> Detection:
    """Return a face of ``np.rot90(frame, quarter)`` in pixels of the original frame with shape (H, W, 3)."""
    height, width = shape[:2]
    back: Callable[[float, float], Point] = {
        0: lambda x, y: (x, y),
        1: lambda x, y: (width - y, x),
        2: lambda x, y: (width - x, height - y),
        3: lambda x, y: (y, height - x),
    }[quarter]
    x0, y0, x1, y1 = face.box_xyxy
    (xa, ya), (xb, yb) = back(x0, y0), back(x1, y1)
    box = (min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))
    return Detection(box, face.score, tuple(back(x, y) for x, y in face.landmarks))


def _falling_area(face: Detection) -> float:
    x0, y0, x1, y1 = face.box_xyxy
    return -(x1 - x0) * (y1 - y0)
