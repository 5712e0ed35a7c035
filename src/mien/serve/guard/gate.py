"""Counts the requests at work, and refuses more when the service is full or stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mien.serve.refusals import busy


class Gate:
    """Counts the requests at work, and knows whether the service is stopping."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0
        self.open_requests = 0
        self.stopping = False

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one of the places for requests with photos or videos.

        Raises:
            Refusal: all places are taken.
        """
        if self._inside >= self._most:
            raise busy(f"all {self._most} places are taken")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
