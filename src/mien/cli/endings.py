"""Signals that ask a command to end -> an end in order, with nothing half written.

Ctrl-C, ``kill``, ``docker stop``, Slurm and ``timeout`` (SIGTERM), and a terminal that closes (SIGHUP) end a command alike.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from typing import Any

ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


class Ending:
    """What the signals asked for: ``asked`` is set by the first one, which interrupts whatever is not held.

    A second Ctrl-C interrupts at once; other signals that come again change nothing, since systems send several.
    """

    def __init__(self) -> None:
        self.asked = Event()
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Finish a block before the interruption.

        Raises:
            KeyboardInterrupt: after the block, when a signal came in it.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.asked.is_set():
            raise KeyboardInterrupt

    def finish(self) -> None:
        """Let no first signal interrupt what is left to do; a loop looks at ``asked`` itself."""
        self._held = True

    def __call__(self, number: int, _: Any) -> None:
        """Take a signal."""
        again = self.asked.is_set()
        if again and number != signal.SIGINT:
            return
        self.asked.set()
        if again or not self._held:
            raise KeyboardInterrupt


@contextmanager
def in_order() -> Iterator[Ending]:
    """Give an :class:`Ending` that takes the signals.

    A signal that is ignored, as SIGHUP is under nohup, stays so.
    """
    ending = Ending()
    before = {}
    if current_thread() is main_thread():
        before = {number: signal.getsignal(number) for number in ENDINGS}
        before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, ending)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
