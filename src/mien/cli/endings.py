"""Signals that ask a command to stop -> an orderly end that leaves nothing half written.

Three causes stop a command in the same way: Ctrl-C (SIGINT), SIGTERM (from ``kill``, ``docker stop``, Slurm or ``timeout``), and a
terminal that closes (SIGHUP).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from typing import Any

ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


class Ending:
    """A request to stop. The first signal sets ``asked`` and raises KeyboardInterrupt, unless the running code is held.

    A second Ctrl-C interrupts at once. Other repeated signals change nothing, because systems often send several.
    """

    def __init__(self) -> None:
        self.asked = Event()
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a block finish before the interruption.

        Raises:
            KeyboardInterrupt: after the block, if a signal arrived during it.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.asked.is_set():
            raise KeyboardInterrupt

    def finish(self) -> None:
        """From now on, let no first signal interrupt. A loop checks ``asked`` itself."""
        self._held = True

    def __call__(self, number: int, _: Any) -> None:
        """Handle a signal."""
        again = self.asked.is_set()
        if again and number != signal.SIGINT:
            return
        self.asked.set()
        if again or not self._held:
            raise KeyboardInterrupt


@contextmanager
def in_order() -> Iterator[Ending]:
    """Yield an :class:`Ending` that handles the signals.

    A signal that is already ignored, such as SIGHUP under nohup, stays ignored.
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
