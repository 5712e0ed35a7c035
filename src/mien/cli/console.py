"""The messages of the verbs on stderr, tables on stdout, and checks of output names."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mien.errors import MienWarning, MissingExtraError, UsageError, presentable

if TYPE_CHECKING:
    from rich.console import RenderableType

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")  # formats of drawn pictures
PIPE_COLUMNS = 200  # width of a table in a file or a pipe, which have no width of their own
HEADS = ("emotion", "votes")  # the heads that mien.train.models builds; listed here to avoid its imports


def say(text: str) -> None:
    """Write one line to stderr. Passwords in its addresses are removed."""
    sys.stderr.write(presentable(text) + "\n")


def fail(text: str, status: int = 1) -> NoReturn:
    """Write an error message and exit with ``status``."""
    say(f"mien: {text}")
    sys.exit(status)


def show(*what: RenderableType) -> None:
    """Write tables and lines to stdout, as wide as the terminal. In a pipe no line is folded."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    for thing in what:
        console.print(thing)


def counted(number: int, thing: str) -> str:
    """Return a number and its noun.

    >>> counted(1, "photo"), counted(1200, "photo")
    ('1 photo', '1,200 photos')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def stay_readable() -> None:
    """Keep the output to one line per event. Bytes in names that are not text become escapes, and Pillow's warnings are hidden.

    Output to a stream that the caller has closed is discarded.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  (lives as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module="PIL")  # it warns of damaged tags; what matters becomes a note or an error record
    warnings.simplefilter("always", MienWarning)
    as_python_does = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if issubclass(category, MienWarning):
            say(f"mien: {message}")
        else:
            as_python_does(message, category, *where)

    warnings.showwarning = show  # type: ignore[assignment]  # the other arguments are passed on unchanged


def check_free(path: Path, overwrite: bool) -> None:
    """Raise UsageError if ``path`` is a folder, exists and must not be overwritten, or its parent folder is missing."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file")
    if path.is_file() and not overwrite:
        raise UsageError(f"{path} exists; add --overwrite to replace it, or choose another name")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; make it first")


def check_ending(path: Path, endings: Iterable[str]) -> None:
    """Raise UsageError if ``path`` has none of the endings. Endings are lower case and start with a dot."""
    if path.suffix.lower() not in endings:
        raise UsageError(f"expected a file name that ends in {' or '.join(endings)}, got {path}")


def check_head(head: str) -> None:
    """Raise UsageError if ``head`` is not a head that a run's network can have."""
    if head not in HEADS:
        raise UsageError(f"unknown --head {head!r}; expected {' or '.join(HEADS)}")


def check_no_input(path: Path, inputs: Iterable[object]) -> None:
    """Raise UsageError if the output ``path`` is one of the input files. Inputs that are not paths are skipped."""
    if path.exists() and any(isinstance(given, Path) and given.exists() and path.samefile(given) for given in inputs):
        raise UsageError(f"expected another name than an input's, got {path}: it would be written over itself")


@contextmanager
def training_wing(*, networks: bool = False) -> Iterator[None]:
    """Turn the import error of a missing package of the training wing into an error that says how to install it.

    With ``networks``, Keras is loaded at once, and the start-up messages of its backend are hidden.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        if networks:
            with _hushed():
                import keras  # noqa: F401
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mien"):
            raise
        raise MissingExtraError(error.name or "keras", "train") from None


@contextmanager
def _hushed() -> Iterator[None]:
    """Hide what is written to stderr, also by native libraries. After an error, show it."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as kept, warnings.catch_warnings(action="ignore"):
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(terminal, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
