"""Room for one thing, which a newer one replaces."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Hands the newest thing from one thread to another and counts those that were never taken.

    >>> slot = Latest[str]()
    >>> slot.put("old"); slot.put("new"); slot.take(), slot.dropped
    ('new', 1)
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._content: T | None = None
        self._closed = False
        self.dropped = 0

    def put(self, content: T) -> None:
        """Put something in; what was there is dropped."""
        with self._changed:
            self.dropped += self._content is not None
            self._content = content
            self._changed.notify()

    def take(self) -> T | None:
        """Wait for something and take it out; None once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._content is not None)
            content, self._content = self._content, None
            return None if self._closed else content

    def close(self) -> None:
        """Let whoever waits go."""
        with self._changed:
            self._closed = True
            self._changed.notify()
