"""Prefetching: one step of a chain of iterators runs ahead in its own thread."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 3) -> Generator[T]:
    """Yield the same items, computed in a thread that is up to ``depth`` items ahead.

    An exception of ``items`` is raised after the items before it. Closing or dropping this generator early ends the thread and closes
    ``items``.

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
        except BaseException as error:  # raised again in the thread of the consumer, below
            end = error
        done.put(end)

    thread = Thread(target=work, name="mien-prefetch", daemon=True)
    thread.start()
    try:
        while isinstance(entry := done.get(), tuple):
            room.release()
            yield entry[0]
            entry = None  # otherwise the item would stay in memory until the next one arrives
        if entry is not None:
            raise entry
    finally:
        stopped.set()
        room.release()
        thread.join()
