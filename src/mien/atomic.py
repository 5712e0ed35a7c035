"""Write a file so that it appears whole or not at all.

A reader, a crash or a full disk finds the old file or the new one, never a part of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path, *, durable: bool = False, ending: str = ".part") -> Iterator[Path]:
    """Give the path of a draft, which takes the name ``path`` when the block ends; an exception removes the draft.

    Args:
        path: the file to write; an older one is replaced.
        durable: also bring content and name to the disk, so that they outlast a loss of power. That costs some milliseconds.
        ending: ends the name of the draft, ``.NAME.part`` beside ``path``; for writers that go by the ending of a name.

    Raises:
        OSError: the disk is full, or the folder cannot be written; an older file stays as it was.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = Path(folder.name) / "a.txt"
    >>> with atomic_write(file) as draft:
    ...     _ = draft.write_text("new")
    ...     file.exists()
    False
    >>> file.read_text()
    'new'
    >>> folder.cleanup()
    """
    draft = draft_of(path, ending)
    try:
        yield draft
        if durable:
            sync(draft)
            publish(draft, path)
        else:
            os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def draft_of(path: Path, ending: str = ".part") -> Path:
    """Return the hidden name beside ``path`` that its draft has.

    >>> draft_of(Path("runs/model.keras"), ".part.keras").name
    '.model.keras.part.keras'
    """
    return path.with_name(f".{path.name}{ending}")


def publish(finished: Path, path: Path) -> None:
    """Give a file that is on the disk the name ``path``, and bring the name to the disk, too; both are on one file system."""
    os.replace(finished, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file, or a folder's list of files, to the disk itself."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders, and its renames need no such help
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
