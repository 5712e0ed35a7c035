"""Work ahead of the one who asks: one step of a chain of iterators in a thread of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 3) -> Generator[T]:
    """Yield the same items, computed by a thread that is up to ``depth`` of them ahead.

    An exception arrives after the items before it. Whoever stops early, by closing the iterator or letting go of it, ends the thread and
    closes ``items``; nothing stays behind.

    >>> list(prefetch(range(3)))
    [0, 1, 2]
    """
    done: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    room, stopped = Semaphore(depth), Event()

    def work() -> None:
        end: BaseException | None = None
        try:
            iterator = iter(items)
            try:
                while room.acquire() and not stopped.is_set():
                    done.put((next(iterator),))
            finally:
                if close := getattr(iterator, "close", None):
                    close()
        except StopIteration:
            pass
        except BaseException as error:  # raised in the asker's thread, below
            end = error
        done.put(end)

    thread = Thread(target=work, name="mien-prefetch", daemon=True)
    thread.start()
    try:
        while isinstance(entry := done.get(), tuple):
            room.release()
            yield entry[0]
            entry = None  # or the item would live on here while the asker waits for the next one
        if entry is not None:
            raise entry
    finally:
        stopped.set()
        room.release()
        thread.join()
