"""Inputs of a shard -> what the pipeline takes, read ahead where reading waits for a network or unpacks an archive."""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from mien.batch import archives, remote
from mien.batch.inputs import Input
from mien.errors import ChangedError, FetchError, JobError, MediaError
from mien.media.fetch import fetch
from mien.media.images import ReadLimits, data_of_uri, is_data_uri
from mien.media.sources import Source
from mien.results import ErrorResult

READERS = 8  # files on their way at once; enough to hide 50 ms of a network behind 50 ms of work on several cores
TRIES, FIRST_WAIT_S = 3, 0.5  # a second and a third try, after half a second and one second
LOST_AFTER, LOST_IN_ALL = 8, 64  # inputs in a row that cannot be fetched, from one host and from any: the connection is gone


class Reader:
    """Reads inputs; keeps count of failures in a row, and of the ``seconds`` that each input took to arrive."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._failures: Counter[str] = Counter()
        self._lock = Lock()
        self._archives = archives.OpenArchives(limits.max_bytes)
        self.seconds: dict[str, float] = {}

    def photos(self, inputs: Iterable[Input]) -> Iterator[Source | ErrorResult]:
        """Yield what ``Pipeline.analyze_many`` takes, one item an input, in order.

        Raises:
            JobError: so many inputs in a row could not be fetched that the connection must be lost.
        """
        source = iter(inputs)
        queue: deque[Future[Source | ErrorResult] | Source | ErrorResult] = deque()
        with ThreadPoolExecutor(READERS, "mien-fetch") as fetchers, ThreadPoolExecutor(1, "mien-unpack") as unpacker:
            try:
                while True:
                    for item in itertools.islice(source, 2 * READERS - len(queue)):
                        pool = unpacker if _is_unpacked(item) else fetchers if _is_elsewhere(item) else None
                        queue.append(pool.submit(self._read, item) if pool else self._read(item))
                    if not queue:
                        return
                    first = queue.popleft()
                    yield first.result() if isinstance(first, Future) else first
            finally:
                for waiting in queue:
                    if isinstance(waiting, Future):
                        waiting.cancel()

    def file(self, item: Input, scratch: Path) -> Path:
        """Return a path at which a video can be opened; one that comes from elsewhere is copied into the folder ``scratch``.

        Raises:
            MediaError: it is not there, or not what was planned.
            JobError: the connection is lost.
        """
        if not (_is_elsewhere(item) or _is_unpacked(item)):
            check_unchanged(item)
            return Path(item.place)
        copy = scratch / f"video{Path(item.name).suffix}"
        self._tried(item, lambda: self._copy(item, copy))
        return copy

    def close(self) -> None:
        """Let archives go."""
        self._archives.close()

    def _copy(self, item: Input, copy: Path) -> bytes:
        if item.packing:
            self._archives.copy(item, copy)
        else:
            remote.copy(item.place, copy)
        return b""

    def _read(self, item: Input) -> Source | ErrorResult:
        if item.kind == "error":
            return ErrorResult(item.name, item.code, item.message)
        began = time.perf_counter()
        try:
            if not (_is_elsewhere(item) or _is_unpacked(item)):
                check_unchanged(item)
                return Source(item.name, Path(item.place))
            return Source(item.name, self._tried(item, lambda: self._bytes(item)))
        except MediaError as error:
            return ErrorResult(item.name, error.code, str(error))
        finally:
            self.seconds[item.name] = time.perf_counter() - began

    def _bytes(self, item: Input) -> bytes:
        if item.packing:
            return self._archives.read(item)
        limits = self._limits
        if is_data_uri(item.place):
            return data_of_uri(item.place, limits)
        if urlsplit(item.place).scheme in ("http", "https"):
            return fetch(item.place, max_bytes=limits.max_bytes, timeout_s=limits.timeout_s, max_redirects=limits.max_redirects)
        data = remote.read(item.place, limits.max_bytes, item.size)
        if item.size is not None and len(data) != item.size:
            raise ChangedError(_changed(item.name, f"{item.size:,} bytes", f"{len(data):,}"))
        return data

    def _tried(self, item: Input, read: Callable[[], bytes]) -> bytes:
        """Return what ``read`` gives, trying again where that can help."""
        host = urlsplit(item.place).netloc.rpartition("@")[2] or item.place
        for wait_s in (*(FIRST_WAIT_S * 2**i for i in range(TRIES - 1)), None):
            try:
                data = read()
            except FetchError as error:
                if not error.transient:
                    raise
                if wait_s is None:
                    self._count_failure(host, error)
                    raise
                time.sleep(wait_s)
            else:
                with self._lock:
                    self._failures.clear()
                return data
        raise AssertionError("the last try returns or raises")

    def _count_failure(self, host: str, error: FetchError) -> None:
        with self._lock:
            self._failures[host] += 1
            if self._failures[host] >= LOST_AFTER or self._failures.total() >= LOST_IN_ALL:
                raise JobError(
                    f"the connection seems lost: {self._failures.total()} inputs in a row could not be fetched ({error}); "
                    "the same command goes on from here when it is back"
                )


def check_unchanged(item: Input) -> None:
    """Raise ChangedError if a local file is not what it was when the job was planned; one that is gone is left to the reader."""
    if item.changed_ns is None:
        return
    try:
        now = Path(item.place).stat()
    except OSError:
        return
    if (now.st_size, now.st_mtime_ns) != (item.size, item.changed_ns):
        raise ChangedError(_changed(item.name, f"the {item.size:,} bytes that were planned", f"a file of {now.st_size:,} changed since"))


def _changed(name: str, expected: str, got: str) -> str:
    return f"expected {expected} in {name}, got {got}; start a new job for the files as they are now"


def _is_elsewhere(item: Input) -> bool:
    return item.kind != "error" and ("://" in item.place or is_data_uri(item.place))


def _is_unpacked(item: Input) -> bool:
    """Whether an archive has to be read in its own order; a plain tar elsewhere is read by the byte."""
    return item.kind != "error" and bool(item.packing) and not (item.packing == "tar" and "://" in item.place)
