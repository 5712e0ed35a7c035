"""What every verb says on stderr, and where its data goes."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

from mien.errors import MissingExtraError, UsageError


def say(text: str) -> None:
    """Write a line for people."""
    sys.stderr.write(text + "\n")


def fail(text: str, status: int = 1) -> NoReturn:
    """Say what went wrong and stop."""
    say(f"mien: {text}")
    sys.exit(status)


def stay_readable() -> None:
    """Keep the output to one line a matter: names that are not text become escapes, and Pillow's warnings stay inside."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module="PIL")  # its remarks on damaged tags; what matters becomes a note or an error record


def check_free(path: Path, overwrite: bool) -> None:
    """Raise UsageError if ``path`` is taken and may not be overwritten, or its folder is missing."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; add --overwrite to replace it, or choose another name")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; make it first")


@contextmanager
def training_wing() -> Iterator[None]:
    """Turn the import error of a missing package of the training wing into the line that installs it."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mien"):
            raise
        raise MissingExtraError(error.name or "keras", "train") from None


@contextmanager
def text_output(path: Path | None, overwrite: bool) -> Iterator[TextIO]:
    """Give stdout, or a file that gets its name when everything is written.

    An interruption keeps the lines written so far; a full disk keeps nothing, since half a file could pass for a whole one.
    """
    if path is None:
        yield sys.stdout
        return
    check_free(path, overwrite)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out:
            yield out
    except OSError:
        part.unlink(missing_ok=True)
        raise
    finally:
        if part.exists():
            os.replace(part, path)
