"""Files that appear whole or not at all, also when the power goes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from mien.errors import JobError


class WholeFile:
    """A file that gets its name when everything is written and on the disk; ``size`` and ``sha256`` tell what went in."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f"{path.name}.part")
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hexadecimal SHA-256 of what was written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self._out.write(data)
        self._hash.update(data)
        self.size += len(data)

    def __enter__(self) -> Self:
        self._out = self._part.open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._out:
                self._out.flush()
                os.fsync(self._out.fileno())
        except OSError:
            self._part.unlink(missing_ok=True)
            raise
        if kind is None:
            put(self._part, self._path)
        else:
            self._part.unlink(missing_ok=True)


@contextmanager
def room(place: Path) -> Iterator[None]:
    """Tell what to do where the system refuses to write.

    Raises:
        JobError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise JobError(f"expected room for {place}, the system refuses ({reason}); free some and run the same command again") from None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole."""
    with WholeFile(path) as file:
        file.write(data)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def put(finished: Path, path: Path) -> None:
    """Give a file that is on the disk its name, and make the name last."""
    os.replace(finished, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
