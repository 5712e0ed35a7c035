"""A slot for one item, which a newer item replaces: only the newest frame of a camera or a live stream is processed."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Passes the newest item from one thread to another, and counts the items that were replaced before anyone took them.

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
        """Put an item in; an item that is still there is dropped."""
        with self._changed:
            self.dropped += self._content is not None
            self._content = content
            self._changed.notify()

    def take(self) -> T | None:
        """Wait for an item and take it out. Return None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._content is not None)
            content, self._content = self._content, None
            return None if self._closed else content

    def close(self) -> None:
        """Close the slot; a thread that waits in :meth:`take` gets None."""
        with self._changed:
            self._closed = True
            self._changed.notify()
