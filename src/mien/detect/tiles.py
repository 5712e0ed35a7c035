"""A picture searched part by part, so that its small faces are large enough to be seen, whatever the size of the picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore

import numpy as np

from mien.arrays import Frame
from mien.detect.base import Detection, Look, Rows, best_first, check_frame, detections, nms, two_views, view_side
from mien.detect.views import resized

WELL_SEEN = 40  # px of the smallest wanted face in the finest views: nine of ten faces without a head around them are seen there
MOST_ENLARGED = 2.0  # more shows nothing new
STEP = 3.0  # from one level of views to the next coarser one
LARGEST_IN_TILE = 128  # px; a face of a tile that is larger is seen whole, and well, in the next coarser level
TILE, OVERLAP = 960, 160  # px of a view, at most, and of what neighbours share: a face of LARGEST_IN_TILE px and its surroundings
SLACK = 8  # px by which two neighbours may disagree about a face's centre
KEPT_SHARE = 0.8  # of the smallest wanted size that a box must have: the detector's boxes of one face vary by about as much
MAX_FACES = 20_000  # of one picture, the surest ones


@dataclass(frozen=True)
class Tile:
    """A part of a frame and how it is looked at: edges in whole pixels of the frame, and the scale of the view.

    A face belongs to the tile whose ``own_xyxy`` holds its centre; the parts that tiles own cover the frame without overlapping.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    own_xyxy: tuple[float, float, float, float]
    scale: float


class Searcher:
    """Looks at several tiles of a picture at once; safe to share between threads, which together look at no more tiles at a time."""

    def __init__(self, look: Look, max_side: int, at_once: int) -> None:
        """Keep what looks: ``look`` takes an RGB view of at most ``max_side`` px and gives rows (N, 15) in pixels of the view."""
        self._look, self._max_side, self._at_once = look, max_side, at_once
        self._gate = BoundedSemaphore(at_once)

    def search(self, frame_rgb: Frame, min_face: float) -> tuple[Detection, ...]:
        """Return the faces of a frame that are about ``min_face`` px or more on their shorter side, largest first.

        Boxes of one face vary, so those of :data:`KEPT_SHARE` of that size are kept.

        The whole frame is searched as :func:`mien.detect.base.search` does. Where the smallest wanted face is too small in that view, a
        pyramid of finer views is cut into tiles and searched as well; what is seen well in the whole frame keeps its box.

        Raises:
            UsageError: the frame is not uint8 (H, W, 3).
        """
        check_frame(frame_rgb)
        fine, coarse = two_views(frame_rgb, self._look, self._max_side, min_face)
        height, width = frame_rgb.shape[:2]
        whole = view_side(max(height, width), self._max_side, min_face) / max(height, width)
        tiles = [tile for scale in scales(whole, min_face) for tile in cut(width, height, scale, min(TILE, self._max_side))]
        if not tiles:
            return detections(np.concatenate([fine, coarse]), frame_rgb, KEPT_SHARE * min_face)
        well_seen = (fine[:, 3:5] - fine[:, 1:3]).min(1) * whole >= WELL_SEEN
        small = np.concatenate([fine[~well_seen], *self._all(frame_rgb, tiles, min_face)])
        small = small[np.argsort(-small[:, 0], kind="stable")[:MAX_FACES]]
        return detections(np.concatenate([fine[well_seen], small, coarse]), frame_rgb, KEPT_SHARE * min_face)

    def _all(self, frame_rgb: Frame, tiles: Sequence[Tile], min_face: float) -> Iterable[Rows]:
        work = partial(self._one, frame_rgb, min_face)
        if self._at_once == 1 or len(tiles) == 1:
            return [work(tile) for tile in tiles]
        with ThreadPoolExecutor(min(self._at_once, len(tiles)), thread_name_prefix="mien-tiles") as pool:
            return list(pool.map(work, tiles))  # in the order of the tiles: the same answer with any number of threads

    def _one(self, frame_rgb: Frame, min_face: float, tile: Tile) -> Rows:
        """Return the faces of one tile in pixels of the frame, best first: those that it owns, and that are not too large for it."""
        width, height = tile.x1 - tile.x0, tile.y1 - tile.y0
        size = (max(1, round(width * tile.scale)), max(1, round(height * tile.scale)))
        with self._gate:
            rows = self._look(resized(frame_rgb[tile.y0 : tile.y1, tile.x0 : tile.x1], size))
        rows[:, 1::2] = rows[:, 1::2] * (width / size[0]) + tile.x0
        rows[:, 2::2] = rows[:, 2::2] * (height / size[1]) + tile.y0
        sides = rows[:, 3:5] - rows[:, 1:3]
        x, y = ((rows[:, 1:3] + rows[:, 3:5]) / 2).T
        slack = SLACK / tile.scale
        left, top, right, bottom = tile.own_xyxy
        own = (x >= left - slack) & (x <= right + slack) & (y >= top - slack) & (y <= bottom + slack)
        rows = best_first(rows[own & (sides.max(1) * tile.scale <= LARGEST_IN_TILE) & (sides.min(1) >= min_face / 2)])
        return rows[nms(rows[:, 1:5])]


def scales(whole: float, min_face: float) -> tuple[float, ...]:
    """Return the scales of the views that a frame needs beside that of the ``whole``, finest first; none where that shows enough.

    >>> scales(0.24, 20), scales(1.0, 40)
    ((2.0, 0.6666666666666666), ())
    """
    found = []
    scale = min(WELL_SEEN / min_face, MOST_ENLARGED)
    while scale > whole:
        found.append(scale)
        scale /= STEP
    return tuple(found)


def cut(width: int, height: int, scale: float, side: int = TILE) -> Iterator[Tile]:
    """Yield the tiles of a frame, row by row; no view of one is larger than ``side`` px.

    >>> [tile.own_xyxy for tile in cut(1000, 400, 1.0)]
    [(0.0, 0.0, 500.0, 400.0), (500.0, 0.0, 1000.0, 400.0)]
    """
    overlap = min(OVERLAP, side // 4)
    across, down = (1 if length * scale <= side else math.ceil(length * scale / (side - overlap)) for length in (width, height))
    margin = overlap / 2 / scale
    for row in range(down):
        top, bottom = height * row / down, height * (row + 1) / down
        for column in range(across):
            left, right = width * column / across, width * (column + 1) / across
            yield Tile(
                max(0, math.floor(left - margin)),
                max(0, math.floor(top - margin)),
                min(width, math.ceil(right + margin)),
                min(height, math.ceil(bottom + margin)),
                (left, top, right, bottom),
                scale,
            )
