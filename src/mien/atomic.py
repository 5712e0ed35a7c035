"""Write a file so that it appears complete or not at all.

After a crash or on a full disk, and for every reader, there is the old file or the new one, never a part of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path, *, durable: bool = False, ending: str = ".part") -> Iterator[Path]:
    """Yield the path of a draft. At the end of the block, the draft is renamed to ``path``; an exception removes it.

    Args:
        path: the file to write; an older file is replaced.
        durable: also flush content and name to the disk, so that they survive a loss of power. This takes some milliseconds.
        ending: end of the draft's name, ``.NAME.part`` in the folder of ``path``; for writers that choose a format by the ending.

    Raises:
        OSError: the disk is full, or the folder cannot be written. An older file stays unchanged.

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
    """Return the path of the draft: a hidden name in the folder of ``path``.

    >>> draft_of(Path("runs/model.keras"), ".part.keras").name
    '.model.keras.part.keras'
    """
    return path.with_name(f".{path.name}{ending}")


def publish(finished: Path, path: Path) -> None:
    """Rename a file that is on the disk to ``path``, and flush the new name to the disk. Both are on the same file system."""
    os.replace(finished, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or the list of files of a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open folders, and its renames do not need this
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
