"""Who is who over time: boxes -> track ids, and probabilities -> probabilities without flicker.

Both classes count in seconds of the video, never in frames, so a variable or an unusual frame rate changes nothing. They are the only
state of the runtime: one :class:`Tracker` and one :class:`Smoother` serve one video.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import UsageError
from mien.geometry import Floats, iou

HIGH_SCORE = 0.6  # detections at least this sure may start a track and are matched first
MAX_LOST_S = 2.0  # how long a person may be away and keep the id
# Noise of the motion model, in face heights: of a box coordinate, of its speed when first seen, and of the acceleration.
BOX_NOISE, FIRST_SPEED, ACCELERATION = 0.05, 1.0, 1.0
PARTLY_HIDDEN, SIZE_CONSTANT_S = 0.85, 1.0  # a box this much below the person's usual area, averaged over about so long, is cut off
MIN_IOU = 0.1  # IoU of the widened boxes under which two boxes are not the same face
MARGIN, MARGIN_PER_S, MAX_MARGIN = 0.2, 0.8, 1.0  # widening a side, in box sizes: at once, more a second unseen, at most
MAX_JUMP_FACES = 12  # faces that are asked whether the camera jumped
JUMP_GAIN = 0.25  # a jump of the camera must raise the mean IoU of all faces by this much to be believed
TIME_CONSTANT_S = 0.2
MIN_PROBABILITY = 0.005  # keeps one near-zero probability from holding a label back for longer than the filter's time


class Tracker:
    """Gives every person of a video a number that stays.

    A constant-velocity Kalman filter predicts where each known face is now. Sure detections are matched to the predictions first, then
    the unsure ones to the faces that were there a moment ago (Zhang et al. 2021, ByteTrack, arXiv:2110.06864). Boxes are widened before
    they are compared, the more the longer a face was unseen (Yang et al. 2023, arXiv:2211.14317), which is what bridges occlusions and
    camera shake.

    >>> tracker = Tracker()
    >>> tracker.update(0.0, [(0, 0, 10, 10), (50, 0, 60, 10)], [0.9, 0.9])
    (1, 2)
    >>> tracker.update(0.1, [(51, 0, 61, 10), (1, 0, 11, 10)], [0.9, 0.9])
    (2, 1)
    """

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._time_s = -math.inf
        self._next_id = 1

    def update(self, time_s: float, boxes_xyxy: ArrayLike, scores: Sequence[float]) -> tuple[int | None, ...]:
        """Return the track id of every box, None for an unsure detection that fits nobody.

        Args:
            time_s: the frame's time; frames come in order.
            boxes_xyxy: (N, 4) pixels.
            scores: the detector's, N numbers in [0, 1].

        Raises:
            UsageError: time runs backwards, or boxes and scores do not pair up.
        """
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        if not time_s >= self._time_s:
            raise UsageError(f"frames must come in order, got {time_s} s after {self._time_s} s; use one tracker a video")
        if len(boxes) != len(scores):
            raise UsageError(f"expected one score a box, got {len(boxes)} boxes and {len(scores)} scores")
        previous_s, self._time_s = self._time_s, time_s
        for track in self._tracks:
            track.predict(time_s)
        just_seen = [track for track in self._tracks if track.seen_s == previous_s]
        if len(just_seen) > 1 and len(boxes) > 1:
            jump = _common_jump(np.array([track.box for track in just_seen]), boxes)
            for track in self._tracks:
                track.shift(jump)
        sure = [i for i, score in enumerate(scores) if score >= HIGH_SCORE]
        unsure = [i for i, score in enumerate(scores) if score < HIGH_SCORE]
        found = self._match(self._tracks, boxes, sure)
        found |= self._match([track for track in just_seen if track not in found.values()], boxes, unsure)
        for i, track in found.items():
            track.correct(boxes[i])
        for i in sure:
            if i not in found:
                found[i] = _Track(self._next_id, time_s, boxes[i])
                self._tracks.append(found[i])
                self._next_id += 1
        self._tracks = [track for track in self._tracks if track.seen_s == time_s or time_s - track.seen_s <= MAX_LOST_S]
        return tuple(found[i].id if i in found else None for i in range(len(boxes)))

    def expected(self, time_s: float) -> Floats:
        """Return where the faces of the last update should be at ``time_s``, boxes (N, 4)."""
        return np.array([track.box_at(time_s) for track in self._tracks if track.seen_s == self._time_s]).reshape(-1, 4)

    def _match(self, tracks: Sequence[_Track], boxes: Floats, wanted: Sequence[int]) -> dict[int, _Track]:
        """Return index of a wanted box -> track."""
        if not tracks or not wanted:
            return {}
        overlap = np.empty((len(tracks), len(wanted)))
        for row, track in zip(overlap, tracks, strict=True):
            margin = min(MARGIN + MARGIN_PER_S * (self._time_s - track.seen_s), MAX_MARGIN)
            row[:] = iou(widen([track.box], margin), widen(boxes[wanted], margin))
        overlap[overlap < MIN_IOU] = 0
        return {wanted[j]: tracks[i] for i, j in assign(overlap)}


class _Track:
    """One person: a Kalman filter over centre, size and the centre's speed.

    The noise of every coordinate is the same multiple of the face's height, so the four filters share one 2x2 covariance.
    """

    def __init__(self, track_id: int, time_s: float, box_xyxy: Floats) -> None:
        self.id = track_id
        self.seen_s = self._now_s = time_s
        self._place = _centre_and_size(box_xyxy)  # (x, y, width, height)
        self._usual_area = float(self._place[2] * self._place[3])
        self._speed = np.zeros(4)  # pixels a second; the size's stays zero, or a face would grow while it is hidden
        self._covariance = np.diag([BOX_NOISE**2, FIRST_SPEED**2])  # of (place, speed), in face heights

    @property
    def box(self) -> Floats:
        """The box (x0, y0, x1, y1) now."""
        return self.box_at(self._now_s)

    def box_at(self, time_s: float) -> Floats:
        """Return the box (x0, y0, x1, y1) expected at ``time_s``."""
        x, y, width, height = self._place + self._speed * (time_s - self._now_s)
        return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])

    def predict(self, time_s: float) -> None:
        """Move to ``time_s``; uncertainty grows as white noise of the acceleration makes it."""
        dt = time_s - self._now_s
        step = np.array([[1, dt], [0, 1]])
        growth = ACCELERATION**2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        self._place = self._place + self._speed * dt
        self._covariance = step @ self._covariance @ step.T + growth
        self._now_s = time_s

    def shift(self, jump_xy: Floats) -> None:
        """Move by a jump of the camera, which says nothing about the person's speed."""
        self._place[:2] += jump_xy

    def correct(self, box_xyxy: Floats) -> None:
        """Take in the box seen now.

        Of someone who disappears behind something, less and less is seen, and the centre of that seems to slow down or turn back: while
        the box is cut off, the speed stays what it was.
        """
        gain = self._covariance[:, 0] / (self._covariance[0, 0] + BOX_NOISE**2)
        seen = _centre_and_size(box_xyxy)
        surprise = seen - self._place
        self._place = self._place + gain[0] * surprise
        area = float(seen[2] * seen[3])
        if area >= PARTLY_HIDDEN * self._usual_area:
            self._speed[:2] += gain[1] * surprise[:2]
        self._usual_area += (1 - math.exp(-(self._now_s - self.seen_s) / SIZE_CONSTANT_S)) * (area - self._usual_area)
        self._covariance = self._covariance - np.outer(gain, self._covariance[0])
        self.seen_s = self._now_s


class Smoother:
    """Steadies the probabilities of every person: a first-order low-pass on their logarithms with a time constant in seconds.

    >>> smoother = Smoother()
    >>> [round(p, 3) for p in smoother.smooth(1, 0.0, [0.9, 0.1])]
    [0.9, 0.1]
    >>> [round(p, 3) for p in smoother.smooth(1, 1 / 30, [0.2, 0.8])]
    [0.838, 0.162]
    """

    def __init__(self, time_constant_s: float = TIME_CONSTANT_S) -> None:
        if not time_constant_s > 0:
            raise UsageError(f"the time constant must be above 0 s, got {time_constant_s}")
        self._time_constant_s = time_constant_s
        self._people: dict[int, tuple[float, NDArray[np.float64]]] = {}  # id -> when seen last, filtered logarithms (labels,)

    def smooth(self, track_id: int, time_s: float, probabilities: Sequence[float]) -> tuple[float, ...]:
        """Return the steadied probabilities of one person, which sum to 1."""
        logs = np.log(np.maximum(probabilities, MIN_PROBABILITY))
        if track_id in self._people:
            seen_s, before = self._people[track_id]
            logs = before + (1 - math.exp(-(time_s - seen_s) / self._time_constant_s)) * (logs - before)
        self._people[track_id] = (time_s, logs)
        odds = np.exp(logs - logs.max())
        return tuple(float(p) for p in odds / odds.sum())

    def forget(self, time_s: float) -> None:
        """Drop the people who were away for longer than a track lives, so that an endless stream needs no endless memory."""
        self._people = {track_id: kept for track_id, kept in self._people.items() if time_s - kept[0] <= MAX_LOST_S}


def _common_jump(expected_xyxy: Floats, boxes_xyxy: Floats) -> Floats:
    """Return the shift (x, y) in pixels that the camera made: zero unless one shift explains all boxes far better than none does.

    Of a crowd the largest boxes speak for all: the work grows with the fourth power of their number.
    """
    expected_xyxy, boxes_xyxy = _largest(expected_xyxy), _largest(boxes_xyxy)
    centres, expected = ((boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (boxes_xyxy, expected_xyxy))
    shifts = np.vstack([np.zeros((1, 2)), (centres[None] - expected[:, None]).reshape(-1, 2)])
    moved = (expected_xyxy[None] + np.hstack([shifts, shifts])[:, None]).reshape(-1, 4)
    fit = iou(moved, boxes_xyxy).max(1).reshape(len(shifts), -1).mean(1)  # (shifts,)
    best = int(fit.argmax())
    return np.asarray(shifts[best if fit[best] > fit[0] + JUMP_GAIN else 0], np.float64)


def _largest(boxes_xyxy: Floats) -> Floats:
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1)
    return boxes_xyxy[np.argsort(-areas, kind="stable")[:MAX_JUMP_FACES]]


def _centre_and_size(box_xyxy: Floats) -> Floats:
    x0, y0, x1, y1 = box_xyxy
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])


def widen(boxes_xyxy: ArrayLike, margin: float) -> Floats:
    """Return boxes (N, 4) with ``margin`` times their width added left and right, and of their height above and below.

    >>> widen([(0, 0, 10, 20)], 0.5).tolist()
    [[-5.0, -10.0, 15.0, 30.0]]
    """
    boxes = np.asarray(boxes_xyxy, np.float64)
    room = margin * (boxes[:, 2:] - boxes[:, :2])
    return np.hstack([boxes[:, :2] - room, boxes[:, 2:] + room])


def assign(gain: ArrayLike) -> list[tuple[int, int]]:
    """Return the (row, column) pairs of largest total gain, each row and column used at most once, only pairs of gain above zero.

    Shortest augmenting paths: Jonker and Volgenant 1987, doi:10.1007/BF02278710.

    >>> assign([[0.9, 0.8], [0.8, 0.1]])
    [(0, 1), (1, 0)]
    """
    values = np.maximum(np.asarray(gain, np.float64), 0)
    if values.shape[0] > values.shape[1]:
        return sorted((row, column) for column, row in assign(values.T))
    cost = -values
    rows, columns = cost.shape
    price_of_row, price_of_column = np.zeros(rows), np.zeros(columns)
    row_of, column_of = np.full(columns, -1), np.full(rows, -1)
    for start in range(rows):
        distance, parent = np.full(columns, np.inf), np.full(columns, -1)
        settled = np.zeros(columns, bool)
        row, reached = start, 0.0
        while True:
            via = reached + cost[row] - price_of_row[row] - price_of_column
            nearer = ~settled & (via < distance)
            distance[nearer], parent[nearer] = via[nearer], row
            column = int(np.where(settled, np.inf, distance).argmin())
            reached, settled[column] = distance[column], True
            if row_of[column] < 0:
                break
            row = row_of[column]
        slack = np.where(settled, reached - distance, 0.0)
        price_of_row[start] += reached
        taken = settled & (row_of >= 0)
        price_of_row[row_of[taken]] += slack[taken]
        price_of_column -= slack
        while True:  # hand columns on along the path, back to the row that had none
            row = parent[column]
            row_of[column] = row
            column, column_of[row] = column_of[row], column
            if row == start:
                break
    return [(row, int(column)) for row, column in enumerate(column_of) if values[row, column] > 0]
