"""Presentation times of a file -> seconds that never decrease, even where the file's clock restarts."""

from __future__ import annotations

import math

MAX_JITTER_S = 1.0  # a clock that jumps back by more has restarted
MAX_GAP_S = 3600.0  # in a broadcast stream, a jump ahead by more means another recording
RESTARTS = 0x0200  # FFmpeg's AVFMT_TS_DISCONT: broadcast formats, whose clock may jump
JUMPED = "the file's clock starts again here; the time goes on from the frame before"


class Clock:
    """Converts the times of frames, in display order, to seconds from the start of the file.

    If the time decreases slightly, the previous time is repeated. The clock may restart, for example where two recordings are joined
    byte by byte. There the time increases by the duration of the previous frame.
    """

    def __init__(self, start_s: float = 0.0, *, max_gap_s: float = math.inf) -> None:
        """Start a clock.

        Args:
            start_s: time of the file's start on the file's own clock, in seconds.
            max_gap_s: a jump ahead by more seconds also means that the clock has restarted.
        """
        self._shift_s = -start_s
        self._max_gap_s = max_gap_s
        self._last_s: float | None = None
        self.end_s = 0.0

    def at(self, time_s: float | None, lasts_s: float) -> tuple[float, bool]:
        """Return the time of the next frame, and whether the clock restarted before it.

        Args:
            time_s: time of the frame on the file's clock, in seconds; None if the file gives none.
            lasts_s: duration of the frame, in seconds.

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
