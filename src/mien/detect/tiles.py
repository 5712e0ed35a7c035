"""The search of a picture in tiles, so that small faces are large enough for the detector at any size of the picture."""

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

WELL_SEEN = 40  # px; size of the smallest wanted face in the finest views: there, 9 of 10 faces without a head around them are found
MAX_ENLARGED = 2.0  # larger views find no more faces
STEP = 3.0  # scale ratio from one level of views to the next coarser one
LARGEST_IN_TILE = 128  # px; a larger face in a tile is complete, and found well, in the next coarser level
TILE, OVERLAP = 960, 160  # px; largest view, and overlap of neighbours: a face of LARGEST_IN_TILE px with its surroundings
SLACK = 8  # px; two neighbours may place the centre of a face this far apart
KEPT_SHARE = 0.8  # a box may be this share of the minimum size, because the boxes of one face vary by about as much
MAX_FACES = 20_000  # per picture, those with the highest scores


@dataclass(frozen=True)
class Tile:
    """A part of a frame: its edges in whole pixels of the frame, and the scale of its view.

    A face belongs to the tile whose ``own_xyxy`` contains its centre. The ``own_xyxy`` of all tiles cover the frame without overlap.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    own_xyxy: tuple[float, float, float, float]
    scale: float


class Searcher:
    """Searches several tiles of a picture in parallel. Threads may share it; the limit of parallel tiles holds for all together."""

    def __init__(self, look: Look, max_side: int, at_once: int) -> None:
        """Create a searcher. ``look`` takes an RGB view of at most ``max_side`` px and returns rows (N, 15) in pixels of the view."""
        self._look, self._max_side, self._at_once = look, max_side, at_once
        self._gate = BoundedSemaphore(at_once)

    def search(self, frame_rgb: Frame, min_face: float) -> tuple[Detection, ...]:
        """Return the faces of a frame that are about ``min_face`` px or more on their shorter side, largest first.

        Boxes of one face vary in size, so boxes from :data:`KEPT_SHARE` of that size are kept.

        The whole frame is searched as in :func:`mien.detect.base.search`. If the smallest wanted face is too small in that view, a
        pyramid of finer views is also searched in tiles. Faces that are large enough in the view of the whole frame keep their boxes.

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
            return list(pool.map(work, tiles))  # in the order of the tiles, so that the number of threads does not change the result

    def _one(self, frame_rgb: Frame, min_face: float, tile: Tile) -> Rows:
        """Return the faces that belong to one tile and are not too large for it, in pixels of the frame, best first."""
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
    """Return the scales of the additional views, finest first. It is empty if the view of scale ``whole`` is fine enough.

    >>> scales(0.24, 20), scales(1.0, 40)
    ((2.0, 0.6666666666666666), ())
    """
    found = []
    scale = min(WELL_SEEN / min_face, MAX_ENLARGED)
    while scale > whole:
        found.append(scale)
        scale /= STEP
    return tuple(found)


def cut(width: int, height: int, scale: float, side: int = TILE) -> Iterator[Tile]:
    """Yield the tiles of a frame, row by row. The view of a tile is at most ``side`` px.

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
