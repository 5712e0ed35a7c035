"""Inputs of a shard -> sources for the pipeline. Remote files and archives are read ahead."""

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

READERS = 8  # parallel reads; enough to hide 50 ms of network time behind 50 ms of work on several cores
TRIES, FIRST_WAIT_S = 3, 0.5  # the second try is after 0.5 s, the third after 1 s more
LOST_AFTER, LOST_IN_ALL = 8, 64  # failed downloads in a row, per host and in total, that mean a lost connection


class Reader:
    """Reads inputs. Counts failures in a row, and stores in ``seconds`` how long each input took to read."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._failures: Counter[str] = Counter()
        self._lock = Lock()
        self._archives = archives.OpenArchives(limits.max_bytes)
        self.seconds: dict[str, float] = {}

    def photos(self, inputs: Iterable[Input]) -> Iterator[Source | ErrorResult]:
        """Yield the items for ``Pipeline.analyze_many``, one per input, in order.

        Raises:
            JobError: too many downloads in a row failed, so the connection must be lost.
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
        """Return a local path of a video. A remote or archived video is copied to the folder ``scratch``.

        Raises:
            MediaError: the video is missing, or has changed since the plan.
            JobError: the connection is lost.
        """
        if not (_is_elsewhere(item) or _is_unpacked(item)):
            check_unchanged(item)
            return Path(item.place)
        copy = scratch / f"video{Path(item.name).suffix}"
        self._tried(item, lambda: self._copy(item, copy))
        return copy

    def close(self) -> None:
        """Close the archives."""
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
        """Return the result of ``read``. Errors that may pass are retried."""
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
    """Raise ChangedError if a local file has changed since the job was planned. The reader handles a missing file."""
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
    """Return whether an archive must be read in its own order. From a remote uncompressed tar, single byte ranges can be read."""
    return item.kind != "error" and bool(item.packing) and not (item.packing == "tar" and "://" in item.place)
