"""Presentation times as a file gives them -> seconds that never run back, also where the file's clock starts again."""

from __future__ import annotations

import math

MAX_JITTER_S = 1.0  # a clock that runs back by more has started again
MAX_GAP_S = 3600.0  # in a broadcast stream, a clock that leaps ahead by more belongs to another recording
RESTARTS = 0x0200  # FFmpeg's AVFMT_TS_DISCONT: formats of broadcasting, whose clock may leap
JUMPED = "the file's clock starts again here; the time goes on from the frame before"


class Clock:
    """Turns the times of frames, in the order in which they are shown, into seconds from the start of the file.

    Times that run back a little are held; where the clock starts again, as at the seam of two recordings that were joined byte by byte,
    time goes on by the duration of the frame before.
    """

    def __init__(self, start_s: float = 0.0, *, max_gap_s: float = math.inf) -> None:
        """Begin.

        Args:
            start_s: the file's own time of its start.
            max_gap_s: a clock that leaps ahead by more has started again, too.
        """
        self._shift_s = -start_s
        self._max_gap_s = max_gap_s
        self._last_s: float | None = None
        self.end_s = 0.0

    def at(self, time_s: float | None, lasts_s: float) -> tuple[float, bool]:
        """Return the time of the next frame and whether the clock started again before it.

        Args:
            time_s: the frame's time by the file's clock; None where the file does not say.
            lasts_s: for how long it is shown.

        >>> clock = Clock(10)
        >>> [clock.at(time_s, 0.5) for time_s in (10, 10.5, 10.4, 10, 10.5)]
        [(0.0, False), (0.5, False), (0.5, False), (0.5, False), (0.5, False)]
        >>> clock.at(9, 0.5), clock.at(9.5, 0.5)
        ((1.0, True), (1.5, False))
        """
        now_s = self.end_s if time_s is None else time_s + self._shift_s
        jumped = False
        if self._last_s is None:
            self._last_s = max(0.0, now_s)
        else:
            jumped = not -MAX_JITTER_S <= now_s - self._last_s <= self._max_gap_s
            if jumped:
                self._shift_s += self.end_s - now_s
                now_s = self.end_s
            self._last_s = max(self._last_s, now_s)
        self.end_s = self._last_s + lasts_s
        return self._last_s, jumped
