"""Command line arguments -> the photos to read, in order, with an error record for every argument without a photo."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mien.errors import MienError, NotFoundError, UnreadableError, UnsupportedMediaError, UsageError
from mien.media.images import FORMATS, ReadLimits, display_name, is_data_uri
from mien.results import ErrorResult

# In folders, only files with these endings are read, in upper or lower case. A file that is named directly may have any ending.
IMAGE_SUFFIXES = tuple(suffix for layout in FORMATS.values() for suffix in layout.suffixes)
MAX_NAMES = 100  # number of link paths to one folder; folders that link to each other have infinitely many
GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class Source:
    """One photo to read. ``name`` appears in its result. ``data`` is the input of ``read_photo``: a path, address, data URI or bytes."""

    name: str
    data: Path | str | bytes


def expand(arguments: Sequence[str], *, stdin: BinaryIO | None = None, limits: ReadLimits = ReadLimits()) -> list[Source | ErrorResult]:
    """Return the photos of ``arguments``, in their order, with an error record for each argument without a photo.

    An argument is a file, a folder, a glob, an http(s) URL, a data URI, or ``-`` for one photo on ``stdin``. From ``stdin`` no more is read
    than ``limits`` need to refuse it. A folder gives the images in it and in its subfolders, sorted, without hidden files and folders.
    Links are followed, but never in a loop. A glob (``*``, ``?``, ``[...]``, ``**`` for any depth) gives the files it matches; hidden files
    match only if the pattern itself has a leading dot. An existing path is never read as a glob. If several arguments give the same photo,
    it appears once, at its first position. Two links to one file are two photos, see :func:`absolute`.
    """
    plan: list[Source | ErrorResult] = []
    seen: set[object] = set()
    for argument in dict.fromkeys(arguments):
        for entry in entries(argument, stdin=stdin, limits=limits):
            identity = _identity(entry)
            if identity not in seen:
                seen.add(identity)
                plan.append(entry)
    return plan


def _identity(entry: Source | ErrorResult) -> object:
    """Return a key that is equal for two entries if they are the same photo or the same error."""
    if isinstance(entry, ErrorResult):
        return entry
    return absolute(entry.data) if isinstance(entry.data, Path) else entry.data


def absolute(path: str | Path) -> str:
    """Return the identity of a file, as used everywhere in Mien: its absolute path, with links not resolved.

    ``..`` and ``.`` are removed, except where ``..`` follows a linked folder. Only the system knows the parent of its target.
    """
    plain = os.path.abspath(path)  # noqa: PTH100  (links are not resolved)
    if os.pardir in Path(path).parts and os.path.realpath(plain) != os.path.realpath(path):
        return str(Path(path).absolute())
    return plain


def entries(
    argument: str,
    *,
    stdin: BinaryIO | None = None,
    limits: ReadLimits = ReadLimits(),
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
    named: bool = True,
) -> Iterator[Source | ErrorResult]:
    """Yield the photos of one argument of :func:`expand`, while the folder is being read.

    Args:
        argument: see :func:`expand`.
        stdin: see :func:`expand`.
        limits: see :func:`expand`.
        suffixes: accepted endings of files in folders, in lower case.
        named: the file is named directly, so it may be a pipe or a device.
    """
    if argument == "-":
        yield _stdin_source(stdin, limits)
    elif is_data_uri(argument) or "://" in argument:
        yield Source(display_name(argument), argument)
    elif not argument:
        yield _error("", NotFoundError("expected a file, folder, glob, URL or '-', got an empty argument; leave it out"))
    elif os.path.isdir(argument):  # noqa: PTH112  (Path.is_dir raises if a parent folder may not be searched)
        yield from _folder(Path(argument), suffixes)
    elif GLOB_CHARACTERS.isdisjoint(argument) or os.path.lexists(argument):
        yield file_at(Path(argument), named=named)
    else:
        yield from _glob(argument)


def _stdin_source(stdin: BinaryIO | None, limits: ReadLimits) -> Source | ErrorResult:
    if stdin is None:
        return _error("-", UnreadableError("expected a photo on standard input, got no input at all; pipe one in or name a file"))
    try:
        return Source("-", stdin.read(limits.max_bytes + 1))
    except OSError as error:
        return _error(
            "-", UnreadableError(f"expected a photo on standard input, got {error.strerror or error}; pipe one in or name a file")
        )


def file_at(path: Path, *, named: bool = True) -> Source | ErrorResult:
    """Return the photo at ``path``. Only a ``named`` path may be a pipe or device, because reading one may block forever."""
    name = display_name(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _error(name, NotFoundError(f"expected a file, folder or glob, got {name}, which does not exist; check the path"))
    except (OSError, ValueError) as error:
        return _error(name, _unreadable(name, error))
    if not named and not stat.S_ISREG(status.st_mode):
        return _error(name, UnsupportedMediaError(f"expected a file, got {name}, a pipe, socket or device; leave it out"))
    return Source(name, path)


def _folder(folder: Path, endings: tuple[str, ...]) -> Iterator[Source | ErrorResult]:
    name = display_name(folder)
    refusals: list[OSError] = []
    above: dict[str, tuple[bool, tuple[str, ...]]] = {}  # folder -> whether the path to it has a link, and the real folders on that path
    visits: Counter[str] = Counter()  # through links
    empty = True
    for top, subfolders, files in os.walk(folder, followlinks=True, onerror=refusals.append):
        place = os.path.realpath(top)
        linked, way = above.pop(top, (False, ()))
        loop = place in way
        visits[place] += linked and not loop
        if loop or (linked and visits[place] > MAX_NAMES):
            subfolders.clear()
            if not loop and visits[place] == MAX_NAMES + 1:
                shown = display_name(top)
                message = f"expected a folder that links lead to in {MAX_NAMES} ways at most, got one more, {shown}; name it on its own"
                yield _error(shown, UnsupportedMediaError(message))
            continue
        subfolders[:] = sorted(subfolder for subfolder in subfolders if not subfolder.startswith("."))
        for subfolder in subfolders:
            path = os.path.join(top, subfolder)  # noqa: PTH118  (as os.walk builds it)
            above[path] = linked or os.path.islink(path), (*way, place)  # noqa: PTH114
        for file in sorted(files):
            if not file.startswith(".") and file.lower().endswith(endings):
                empty = False
                yield file_at(Path(top, file), named=False)
    for refusal in refusals:
        subfolder = display_name(refusal.filename)
        yield _error(subfolder, _unreadable(subfolder, refusal))
    if empty and not refusals:
        yield _error(name, NotFoundError(f"expected images in the folder {name}, got none; files that count end in {' '.join(endings)}"))


def _glob(pattern: str) -> Iterator[Source | ErrorResult]:
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if not GLOB_CHARACTERS.isdisjoint(part))
    root, wild = Path(*parts[:fixed]), list(parts[fixed:])
    if wild[-1] == "**":
        wild.append("*")  # before Python 3.13, "**" at the end matches only folders
    hidden_wanted = any(part.startswith(".") for part in wild)
    try:
        matches = sorted(match for match in root.glob("/".join(wild)) if not match.is_dir())
    except ValueError as error:
        yield _error(pattern, UsageError(f"expected a glob such as 'photos/**/*.jpg', got {display_name(pattern)} ({error})"))
        return
    except OSError as error:
        yield _error(pattern, _unreadable(display_name(pattern), error))
        return
    if not hidden_wanted:
        matches = [match for match in matches if not any(part.startswith(".") for part in match.relative_to(root).parts)]
    if not matches:
        message = f"expected the glob {display_name(pattern)} to match files, got none; check it, and that its folders can be read"
        yield _error(pattern, NotFoundError(message))
    yield from (file_at(match, named=False) for match in matches)


def _unreadable(name: str, error: OSError | ValueError) -> UnreadableError:
    reason = getattr(error, "strerror", None) or error
    return UnreadableError(f"expected to read {name}, which the system refuses ({reason}); check its permissions")


def _error(source: str, error: MienError) -> ErrorResult:
    return ErrorResult(display_name(source), error.code, str(error))
