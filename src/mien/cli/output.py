"""The output of records: stdout, or a file that holds only complete records, however the command ends."""

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

PARQUET = b"PAR1"  # the first and last bytes of a complete Parquet file


class RecordFile(io.TextIOWrapper):
    """A text file that knows how many of its bytes are complete records: those written before the last flush.

    A format that is readable only when the file is complete may keep readable pieces in ``spare`` until then.
    """

    def __init__(self, path: Path, spare: Path) -> None:
        self._bytes = path.open("wb")
        super().__init__(self._bytes, encoding="utf-8", errors="backslashreplace", newline="")
        self.spare = spare
        self.whole = 0

    def flush(self) -> None:
        """Write the buffer, which ends with a complete record."""
        super().flush()
        self.whole = self._bytes.tell()


@contextmanager
def text_output(path: Path | None, overwrite: bool) -> Iterator[TextIO]:
    """Yield stdout, or a file that receives its name when everything is written.

    Ctrl-C, a signal, a full disk or an error may end the writing early. The records that are complete by then receive the name. If an
    older file has that name, it stays, and the records go to a new name beside it. A device or a named pipe is written to directly.
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
    """Move the complete records to ``path``, or to a free name beside it. Return that name, or None if there are no records."""
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
    os.replace(spare, path)  # a folder; readers of Parquet open it as one table
    return path


def _is_parquet(file: Path) -> bool:
    with suppress(OSError), file.open("rb") as data:
        if data.read(4) == PARQUET and data.seek(0, os.SEEK_END) > 12:
            data.seek(-4, os.SEEK_END)
            return data.read(4) == PARQUET
    return False


def _free(path: Path) -> Path:
    """Return a name that is not in use, so that the files of earlier runs stay."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in range(1, 10_000))
    return next(name for name in names if not name.exists())
