"""Where a video cuts: the picture changes to another one, and nobody who was there before can be taken for somebody who is there now.

The measure follows the two of the field: like PySceneDetect's ``AdaptiveDetector``, it compares the change from one frame to the next with
the changes just before, and like FFmpeg's ``scene`` score it looks at a small copy of the frame. The change itself is measured on the
structure of the picture and not on its brightness, so that a flash or a fade of the light is none: it is one minus the correlation of the
two copies. What moved is looked for in the copy before, block by block, as a video encoder does; only what is found nowhere has changed.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from mien.arrays import Frame
from mien.errors import UsageError

# Defaults of the detector's parameters.
ADAPTIVE_THRESHOLD = 3.0  # PySceneDetect's name and value: a cut changes this many times as much as the frames before it did on average
WINDOW_WIDTH = 4  # frames before it that count for this average; PySceneDetect takes 2 before and 2 after
MIN_CHANGE = 0.1  # of a cut, before what moved is looked for, in [0, 2]; it plays the part of PySceneDetect's min_content_val
MIN_NEW = 0.15  # share of the picture's structure that is found nowhere near in the frame before a cut, in [0, 1]

COPY_WH = (64, 36)  # px of the small copy
BLOCK, REACH = 6, 6  # px of the small copy: side of a block, and how far it is looked for in each direction
MIN_STRUCTURE = 4.0  # grey levels: with a smaller standard deviation, a picture is black, white or blank, and says nothing
DARKEST, BRIGHTEST = 4, 250  # grey levels: a darker or brighter pixel may have been cut off by the sensor
MAX_CUT_OFF = 16  # of 255 of the frame's pixels in one of the copy
MIN_SHARE = 0.1  # of the pixels of a copy that must lie between them in both copies

Copy = NDArray[np.float32]
Where = NDArray[np.bool_]


class CutDetector:
    """Says of every frame of one video whether it is the first one after a cut.

    A flash that bleaches the whole picture or little of it, a fade to black and back, and a camera that pans or shakes are no cuts. A fade
    through black to another picture is one: at the first frame in which the other picture can be seen. A slow dissolve from one picture
    into another is not recognised.

    >>> detector, rng = CutDetector(), np.random.default_rng(0)
    >>> one, other = (np.kron(rng.integers(40, 200, (9, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8) for _ in range(2))
    >>> [detector.is_cut(frame) for frame in (one, one // 2, one, other, other)]
    [False, False, False, True, False]
    """

    def __init__(
        self,
        *,
        adaptive_threshold: float = ADAPTIVE_THRESHOLD,
        window_width: int = WINDOW_WIDTH,
        min_change: float = MIN_CHANGE,
        min_new: float = MIN_NEW,
    ) -> None:
        """Start before the first frame.

        Args:
            adaptive_threshold: a cut changes the picture at least this many times as much as the frames before it did on average.
            window_width: number of frames before a cut that count for this average.
            min_change: smallest change of a cut: one minus the correlation of the small copies, in [0, 2].
            min_new: smallest share of the structure that no block of the frame before explains, in [0, 1].

        Raises:
            UsageError: a parameter is out of its range.
        """
        for name, value, good, expected in (
            ("adaptive_threshold", adaptive_threshold, adaptive_threshold >= 1, "1 or more"),
            ("window_width", window_width, window_width >= 1, "1 or more frames"),
            ("min_change", min_change, 0 <= min_change <= 2, "a change from 0 to 2"),
            ("min_new", min_new, 0 <= min_new <= 1, "a share from 0 to 1"),
        ):
            if not good:
                raise UsageError(f"expected {name} to be {expected}, got {value}; leave it out for the default")
        self._adaptive_threshold, self._min_change, self._min_new = adaptive_threshold, min_change, min_new
        self._before: tuple[Copy, Where] | None = None  # of the last frame that shows anything
        self._changes: deque[float] = deque(maxlen=window_width)

    def is_cut(self, frame_rgb: Frame) -> bool:
        """Return whether an RGB frame, uint8 (H, W, 3), is the first one after a cut; call it once per frame, in their order."""
        now, seen = _small_copy(frame_rgb)
        if now.std() < MIN_STRUCTURE or seen.mean() < MIN_SHARE:
            return False  # a black or bleached picture says nothing; the next one is compared with the last that did
        if self._before is None:
            self._before = now, seen
            return False
        before, seen_before = self._before
        self._before = now, seen
        both = seen & seen_before
        if both.mean() < MIN_SHARE:
            both[:] = True  # no pixel is right in both, so they cannot show the same
        change = 1 - _correlation(now, before, both)
        usual = sum(self._changes) / len(self._changes) if self._changes else 0.0
        cut = change >= self._min_change and change >= self._adaptive_threshold * usual and _new_share(now, before) >= self._min_new
        if cut:
            self._changes.clear()
        else:
            self._changes.append(change)
        return cut


def _small_copy(frame_rgb: Frame) -> tuple[Copy, Where]:
    """Return the brightness of a frame, grey levels (36, 64), and where the sensor has not cut it off.

    A large frame is thinned first, because averaging all of it takes longer.
    """
    height, width = frame_rgb.shape[:2]
    step_y, step_x = max(1, height // (4 * COPY_WH[1])), max(1, width // (4 * COPY_WH[0]))
    thin = np.ascontiguousarray(frame_rgb[step_y // 2 :: step_y, step_x // 2 :: step_x])
    grey = Image.fromarray(thin).convert("L")
    cut_off = grey.point([255 * (level <= DARKEST or level >= BRIGHTEST) for level in range(256)])
    small, share = (np.asarray(image.resize(COPY_WH, Image.Resampling.BOX), np.float32) for image in (grey, cut_off))
    return small, share < MAX_CUT_OFF


def _correlation(one: Copy, other: Copy, where: Where) -> float:
    """Return Pearson's correlation of two copies over some of their pixels; 0 where one of them is blank there."""
    a, b = one[where] - one[where].mean(), other[where] - other[where].mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > len(a) else 0.0  # both vary by more than a grey level


def _new_share(now: Copy, before: Copy) -> float:
    """Return which share of the structure of a copy is explained by no block of the copy before, in [0, 1].

    Every block is compared with all blocks up to :data:`REACH` px away, in steps of half a pixel, after both copies have been brought to
    the same mean and contrast. Structure is the sum of the squares around the mean.
    """
    now, before = ((copy - copy.mean()) / max(float(copy.std()), 1.0) for copy in (now, before))
    around = np.pad(before, REACH, constant_values=np.inf)  # what lies outside explains nothing
    across, down = (around[:, :-1] + around[:, 1:]) / 2, (around[:-1] + around[1:]) / 2
    shifted = (around, across, down, (across[:-1] + across[1:]) / 2)  # motion is seldom a whole number of pixels of a small copy
    windows: list[NDArray[np.float32]] = [sliding_window_view(copy, (BLOCK, BLOCK)) for copy in shifted]
    left = 0.0
    for top in range(0, now.shape[0] - BLOCK + 1, BLOCK):
        for side in range(0, now.shape[1] - BLOCK + 1, BLOCK):
            block = now[top : top + BLOCK, side : side + BLOCK]
            near = [copy[top : top + 2 * REACH + 1, side : side + 2 * REACH + 1] for copy in windows]
            left += min(float((block**2).sum()), *(float(((blocks - block) ** 2).sum((2, 3)).min()) for blocks in near))
    return left / float((now**2).sum())
