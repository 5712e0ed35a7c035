"""Files that appear whole or not at all, also when the power goes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from mien.atomic import atomic_write
from mien.errors import JobError


class WholeFile:
    """A file that gets its name when everything is written and on the disk; ``size`` and ``sha256`` tell what went in."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
        with ExitStack() as opening:
            draft = opening.enter_context(atomic_write(self._path, durable=True))
            self._out = opening.enter_context(draft.open("wb"))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._open.__exit__(*raised)


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
