"""Files that appear complete or not at all, even after a loss of power."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from mien.atomic import atomic_write
from mien.errors import JobError


class WholeFile:
    """A file that receives its name when all data are on the disk. ``size`` and ``sha256`` describe the written bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hexadecimal SHA-256 of the bytes written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self._out.write(data)
        self._hash.update(data)
        self.size += len(data)

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            draft = opening.enter_context(atomic_write(self._path, durable=True))
            self._out = opening.enter_context(draft.open("wb"))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._open.__exit__(*raised)


@contextmanager
def room(place: Path) -> Iterator[None]:
    """Turn an OSError on writing into an error that says what to do.

    Raises:
        JobError: instead of the OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise JobError(f"expected room for {place}, the system refuses ({reason}); free some and run the same command again") from None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears complete or not at all."""
    with WholeFile(path) as file:
        file.write(data)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
