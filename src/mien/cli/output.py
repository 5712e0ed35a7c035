"""Where the records of a command go: stdout, or a file that holds whole records however the command ends."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from mien.cli.console import check_free, say

PARQUET = b"PAR1"  # what a whole Parquet file starts and ends with


class RecordFile(io.TextIOWrapper):
    """A text file that knows how much of it is whole records: what had been written when it was last flushed.

    ``spare`` is where a format that cannot be read before its end may keep readable pieces until then.
    """

    def __init__(self, path: Path, spare: Path) -> None:
        self._bytes = path.open("wb")
        super().__init__(self._bytes, encoding="utf-8", errors="backslashreplace", newline="")
        self.spare = spare
        self.whole = 0

    def flush(self) -> None:
        """Write what is held back; it ends with a whole record."""
        super().flush()
        self.whole = self._bytes.tell()


@contextmanager
def text_output(path: Path | None, overwrite: bool) -> Iterator[TextIO]:
    """Give stdout, or a file that gets its name when everything is written.

    Whatever ends it before (Ctrl-C, a signal, a full disk, an error), the records that are whole by then keep the name, or stand beside an
    older file of that name and not in its place. A device or a named pipe is written to as it is.
    """
    if path is None:
        try:
            yield sys.stdout
        except KeyboardInterrupt:
            say("stopped; the records that were written until then are whole")
            raise
        return
    check_free(path, overwrite)
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out:
            yield out
        return
    part, spare = path.with_name(f".{path.name}.part"), _free(path.with_name(f"{path.name}.groups"))
    file = RecordFile(part, spare)
    try:
        yield file
        file.close()
    except BaseException:
        whole = file.whole
        with suppress(OSError):
            file.close()
        if kept := _keep(part, spare, whole, path):
            say(f"stopped; {kept} holds what was written until then")
        raise
    os.replace(part, path)
    shutil.rmtree(spare, ignore_errors=True)


def _keep(part: Path, spare: Path, whole: int, path: Path) -> Path | None:
    """Give what is whole the name, or one beside it that is free, and return that name; None where there is nothing."""
    taken = path.exists()
    if _is_parquet(part):
        whole = part.stat().st_size
    if whole:
        kept = _free(path.with_name(f"{path.name}.part")) if taken else path
        os.truncate(part, whole)
        os.replace(part, kept)
        shutil.rmtree(spare, ignore_errors=True)
        return kept
    part.unlink(missing_ok=True)
    if not spare.exists():
        return None
    if taken:
        return spare
    os.replace(spare, path)  # a folder, which readers of Parquet take as one table
    return path


def _is_parquet(file: Path) -> bool:
    with suppress(OSError), file.open("rb") as data:
        if data.read(4) == PARQUET and data.seek(0, os.SEEK_END) > 12:
            data.seek(-4, os.SEEK_END)
            return data.read(4) == PARQUET
    return False


def _free(path: Path) -> Path:
    """Return a name that nothing has, so that what an earlier run left stays."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in range(1, 10_000))
    return next(name for name in names if not name.exists())
