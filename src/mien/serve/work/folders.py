"""The private folder that holds videos while they are analysed; it does not outlive the service."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Self

PREFIX = "mien-serve-"
LOCK = "lock"
GRACE_S = 60.0  # a younger folder may belong to a service that is starting


class PrivateFolder:
    """A folder that only this user can read; it is removed at the end.

    A killed process cannot remove its folder, so the next process does: a folder whose lock is free has no owner any more.
    """

    def __init__(self, parent: Path | None = None) -> None:
        """Create the folder, after removing the folders of killed services."""
        self._parent = parent or Path(tempfile.gettempdir())
        remove_orphans(self._parent)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))  # mode 0700
        self._lock = locked(self.path)

    def close(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_orphans(parent: Path) -> None:
    """Remove the private folders of killed services."""
    for folder in parent.glob(f"{PREFIX}*"):
        if _is_orphan(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_orphan(folder: Path) -> bool:
    try:
        found = folder.lstat()
        if folder.is_symlink() or not folder.is_dir() or found.st_uid != os.getuid():
            return False
        if not (folder / LOCK).exists():
            return time.time() - found.st_mtime > GRACE_S
        descriptor = locked(folder)
    except OSError:
        return False
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def locked(folder: Path) -> int | None:
    """Return a file descriptor that holds the lock of the folder until it is closed; None if another process holds the lock."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
