"""Tracking over time: boxes -> track ids, and probabilities -> probabilities without flicker.

Both classes measure time in seconds of the video, not in frames, so the frame rate does not matter and may vary. They hold the only state
of the runtime: use one :class:`Tracker` and one :class:`Smoother` per video.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import UsageError
from mien.geometry import Floats, iou

# Defaults of the tracker's parameters.
HIGH_SCORE = 0.6  # detections with at least this score are matched first and may start a track
MIN_IOU = 0.1  # smallest IoU of two widened boxes that may be the same face
MAX_LOST_S = 2.0  # a person who is not detected for longer than this gets a new id; also in serve/page/private/track.js
# Noise of the motion model in face heights: of a box coordinate, of the first speed (per second), of the acceleration (per second squared).
BOX_NOISE, FIRST_SPEED, ACCELERATION = 0.05, 1.0, 1.0
# A box whose area is below PARTLY_HIDDEN times the usual area counts as occluded; the usual area is averaged over SIZE_CONSTANT_S.
PARTLY_HIDDEN, SIZE_CONSTANT_S = 0.85, 1.0
MARGIN, MARGIN_PER_S, MAX_MARGIN = 0.2, 0.8, 1.0  # widening per side in box sizes: at first, added per second without detection, limit
MAX_JUMP_FACES = 12  # number of faces, the largest ones, that decide whether the camera jumped
JUMP_GAIN = 0.25  # a camera jump is accepted only if it raises the mean IoU of all faces by this much
TIME_CONSTANT_S = 0.2
MIN_PROBABILITY = 0.005  # lower limit before the logarithm: one value near zero would suppress a label for longer than the time constant


class Tracker:
    """Gives every person of a video an id that stays the same from one cut to the next; see :meth:`cut`.

    A constant-velocity Kalman filter predicts the box of each known face. Detections with a high score are matched to the predictions
    first. Detections with a low score are then matched to the remaining faces of the frame before (Zhang et al. 2021, ByteTrack,
    arXiv:2110.06864). Boxes are widened before they are compared, and more so the longer a face was not detected (Yang et al. 2023,
    arXiv:2211.14317). This bridges occlusions and camera shake.

    >>> tracker = Tracker()
    >>> tracker.update(0.0, [(0, 0, 10, 10), (50, 0, 60, 10)], [0.9, 0.9])
    (1, 2)
    >>> tracker.update(0.1, [(51, 0, 61, 10), (1, 0, 11, 10)], [0.9, 0.9])
    (2, 1)
    """

    def __init__(self, *, high_score: float = HIGH_SCORE, min_iou: float = MIN_IOU, max_lost_s: float = MAX_LOST_S) -> None:
        """Start without any track.

        Args:
            high_score: detections with at least this score are matched first and may start a track, in [0, 1].
            min_iou: smallest IoU of two widened boxes that may be the same face, in (0, 1].
            max_lost_s: a person who is not detected for longer than this gets a new id, in seconds.

        Raises:
            UsageError: a parameter is out of its range.
        """
        for name, value, good, expected in (
            ("high_score", high_score, 0 <= high_score <= 1, "a score from 0 to 1"),
            ("min_iou", min_iou, 0 < min_iou <= 1, "an IoU above 0 and at most 1"),
            ("max_lost_s", max_lost_s, max_lost_s >= 0, "0 s or more"),
        ):
            if not good:
                raise UsageError(f"expected {name} to be {expected}, got {value}; leave it out for the default")
        self._high_score, self._min_iou, self._max_lost_s = high_score, min_iou, max_lost_s
        self._tracks: list[_Track] = []
        self._time_s = -math.inf
        self._next_id = 1

    def update(self, time_s: float, boxes_xyxy: ArrayLike, scores: Sequence[float]) -> tuple[int | None, ...]:
        """Return the track id of every box; None for a detection with a low score that matches no known face.

        Args:
            time_s: time of the frame in seconds; never smaller than in the call before.
            boxes_xyxy: (N, 4) pixels.
            scores: scores of the detector, N numbers in [0, 1].

        Raises:
            UsageError: ``time_s`` is smaller than before, or the numbers of boxes and scores differ.
        """
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        if not time_s >= self._time_s:
            raise UsageError(f"frames must come in order, got {time_s} s after {self._time_s} s; use one tracker per video")
        if len(boxes) != len(scores):
            raise UsageError(f"expected one score per box, got {len(boxes)} boxes and {len(scores)} scores")
        previous_s, self._time_s = self._time_s, time_s
        for track in self._tracks:
            track.predict(time_s)
        just_seen = [track for track in self._tracks if track.seen_s == previous_s]
        if len(just_seen) > 1 and len(boxes) > 1:
            jump = _common_jump(np.array([track.box for track in just_seen]), boxes)
            for track in self._tracks:
                track.shift(jump)
        sure = [i for i, score in enumerate(scores) if score >= self._high_score]
        unsure = [i for i, score in enumerate(scores) if score < self._high_score]
        found = self._match(self._tracks, boxes, sure)
        found |= self._match([track for track in just_seen if track not in found.values()], boxes, unsure)
        for i, track in found.items():
            track.correct(boxes[i])
        for i in sure:
            if i not in found:
                found[i] = _Track(self._next_id, time_s, boxes[i])
                self._tracks.append(found[i])
                self._next_id += 1
        self._tracks = [track for track in self._tracks if track.seen_s == time_s or time_s - track.seen_s <= self._max_lost_s]
        return tuple(found[i].id if i in found else None for i in range(len(boxes)))

    def cut(self) -> None:
        """End every track: the frames from here on show another picture, and whoever is in it gets a new id."""
        self._tracks = []

    def expected(self, time_s: float) -> Floats:
        """Return the boxes (N, 4) in which the faces of the last update are expected at ``time_s``."""
        return np.array([track.box_at(time_s) for track in self._tracks if track.seen_s == self._time_s]).reshape(-1, 4)

    def _match(self, tracks: Sequence[_Track], boxes: Floats, wanted: Sequence[int]) -> dict[int, _Track]:
        """Return the track that matches each wanted box, by the index of the box."""
        if not tracks or not wanted:
            return {}
        overlap = np.empty((len(tracks), len(wanted)))
        for row, track in zip(overlap, tracks, strict=True):
            margin = min(MARGIN + MARGIN_PER_S * (self._time_s - track.seen_s), MAX_MARGIN)
            row[:] = iou(widen([track.box], margin), widen(boxes[wanted], margin))
        overlap[overlap < self._min_iou] = 0
        return {wanted[j]: tracks[i] for i, j in assign(overlap)}


class _Track:
    """One person: a Kalman filter over the centre, the size, and the speed of the centre.

    The noise of every coordinate is the same multiple of the face height, so the four filters share one 2x2 covariance.
    """

    def __init__(self, track_id: int, time_s: float, box_xyxy: Floats) -> None:
        self.id = track_id
        self.seen_s = self._now_s = time_s
        self._place = _centre_and_size(box_xyxy)  # (x, y, width, height)
        self._usual_area = float(self._place[2] * self._place[3])
        self._speed = np.zeros(4)  # pixels per second; it stays zero for the size, otherwise a hidden face would grow
        self._covariance = np.diag([BOX_NOISE**2, FIRST_SPEED**2])  # of (place, speed), in face heights

    @property
    def box(self) -> Floats:
        """The current box (x0, y0, x1, y1)."""
        return self.box_at(self._now_s)

    def box_at(self, time_s: float) -> Floats:
        """Return the box (x0, y0, x1, y1) expected at ``time_s``."""
        x, y, width, height = self._place + self._speed * (time_s - self._now_s)
        return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])

    def predict(self, time_s: float) -> None:
        """Predict the state at ``time_s``; the covariance grows as for an acceleration of white noise."""
        dt = time_s - self._now_s
        step = np.array([[1, dt], [0, 1]])
        growth = ACCELERATION**2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        self._place = self._place + self._speed * dt
        self._covariance = step @ self._covariance @ step.T + growth
        self._now_s = time_s

    def shift(self, jump_xy: Floats) -> None:
        """Move the box by a camera jump (x, y) in pixels; the speed of the person stays the same."""
        self._place[:2] += jump_xy

    def correct(self, box_xyxy: Floats) -> None:
        """Correct the state with the box that is detected now.

        The visible box of an occluded face shrinks, and its centre seems to slow down or to turn back. The speed is therefore not
        updated while the box is cut off.
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
    """Smooths the probabilities of every person: a first-order low-pass filter on their logarithms, with a time constant in seconds.

    >>> smoother = Smoother()
    >>> [round(p, 3) for p in smoother.smooth(1, 0.0, [0.9, 0.1])]
    [0.9, 0.1]
    >>> [round(p, 3) for p in smoother.smooth(1, 1 / 30, [0.2, 0.8])]
    [0.838, 0.162]
    """

    def __init__(self, time_constant_s: float = TIME_CONSTANT_S, *, max_lost_s: float = MAX_LOST_S) -> None:
        """Start without any person.

        Args:
            time_constant_s: time constant of the filter in seconds, greater than 0.
            max_lost_s: as for :class:`Tracker`; see :meth:`forget`.

        Raises:
            UsageError: ``time_constant_s`` is zero or negative.
        """
        if not time_constant_s > 0:
            raise UsageError(f"the time constant must be above 0 s, got {time_constant_s}")
        self._time_constant_s, self._max_lost_s = time_constant_s, max_lost_s
        self._people: dict[int, tuple[float, NDArray[np.float64]]] = {}  # id -> time of the last update, filtered logarithms (labels,)

    def smooth(self, track_id: int, time_s: float, probabilities: Sequence[float]) -> tuple[float, ...]:
        """Return the smoothed probabilities of one person; they sum to 1."""
        logs = np.log(np.maximum(probabilities, MIN_PROBABILITY))
        if track_id in self._people:
            seen_s, before = self._people[track_id]
            logs = before + (1 - math.exp(-(time_s - seen_s) / self._time_constant_s)) * (logs - before)
        self._people[track_id] = (time_s, logs)
        odds = np.exp(logs - logs.max())
        return tuple(float(p) for p in odds / odds.sum())

    def clear(self) -> None:
        """Drop everybody, as at a cut."""
        self._people = {}

    def forget(self, time_s: float) -> None:
        """Drop the people whose track has ended, so that memory does not grow in an endless stream."""
        self._people = {track_id: kept for track_id, kept in self._people.items() if time_s - kept[0] <= self._max_lost_s}


def _common_jump(expected_xyxy: Floats, boxes_xyxy: Floats) -> Floats:
    """Return the camera jump (x, y) in pixels; zero unless one common shift fits all boxes much better than no shift.

    Only the :data:`MAX_JUMP_FACES` largest boxes are compared, because the work grows with the fourth power of their number.
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
    """Return boxes (N, 4), widened by ``margin`` times their width at the left and right, and times their height above and below.

    >>> widen([(0, 0, 10, 20)], 0.5).tolist()
    [[-5.0, -10.0, 15.0, 30.0]]
    """
    boxes = np.asarray(boxes_xyxy, np.float64)
    room = margin * (boxes[:, 2:] - boxes[:, :2])
    return np.hstack([boxes[:, :2] - room, boxes[:, 2:] + room])


def assign(gain: ArrayLike) -> list[tuple[int, int]]:
    """Return the (row, column) pairs with the largest total gain. Each row and column is used at most once; each pair has a gain above 0.

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
        while True:  # reassign the columns along the path, back to the row that had none
            row = parent[column]
            row_of[column] = row
            column, column_of[row] = column_of[row], column
            if row == start:
                break
    return [(row, int(column)) for row, column in enumerate(column_of) if values[row, column] > 0]
