"""Source arguments -> inputs. They are yielded while folders and lists are being read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from mien.batch import archives, manifests, remote
from mien.batch.inputs import VIDEO_SUFFIXES, Input, kind_of, shown
from mien.errors import NotFoundError, UnsupportedMediaError, UsageError
from mien.media.images import is_data_uri
from mien.media.sources import IMAGE_SUFFIXES, Source, absolute, file_at
from mien.media.sources import entries as local_entries
from mien.results import ErrorResult

SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)


def inputs(sources: Sequence[str], column: str | None = None) -> Iterator[Input]:
    """Yield the inputs of ``sources``, in their order.

    A source is a file, a folder, a quoted glob, an address that fsspec can read, an archive (``.tar``, ``.tar.gz``, ``.zip``, ...) or a
    list (``.txt``, ``.csv``, ``.parquet``) of files and addresses. Relative paths in a list start at the folder of the list. Archives and
    lists are opened if they are named, and ignored inside a folder.

    Raises:
        UsageError: a source does not exist or has no inputs, or a list does not have the column.
        MediaError: a source cannot be opened.
    """
    for source in sources:
        yield from _at_least_one(source, _of_source(source, column))


def _at_least_one(source: str, found: Iterator[Input]) -> Iterator[Input]:
    """Yield the inputs of a source. If the only result is an error of the source itself, the call is wrong: raise."""
    first = next(found, None)
    if first is None:
        raise UsageError(f"expected photos or videos in {shown(source)}, got none; files that count end in {' '.join(SUFFIXES)}")
    second = next(found, None)
    if first.kind == "error" and second is None and first.code in (NotFoundError.code, UsageError.code):
        raise UsageError(first.message)
    yield first
    if second is not None:
        yield second
        yield from found


def _of_source(source: str, column: str | None) -> Iterator[Input]:
    if is_data_uri(source):
        yield Input(shown(source), place=source)
        return
    address = "://" in source
    path = urlsplit(source).path if address else source
    if source == "-":
        raise UsageError("expected files, folders, addresses, archives or lists, got '-'; a job needs inputs that it can come back to")
    is_folder = not address and os.path.isdir(source)  # noqa: PTH112  (Path.is_dir raises if a parent folder may not be searched)
    if archives.packing_of(path) and not is_folder:
        yield from archives.members(shown(source), source if address else absolute(source), SUFFIXES)
    elif manifests.is_manifest(path) and not is_folder:
        yield from _of_manifest(source, column)
    elif address:
        yield from _of_address(source)
    else:
        yield from map(_of_entry, local_entries(source, suffixes=SUFFIXES, named=False))


def _of_manifest(source: str, column: str | None) -> Iterator[Input]:
    for entry in manifests.entries(source, column):
        if is_data_uri(entry):
            yield Input(shown(entry), place=entry)
        elif "://" in entry:
            yield Input(shown(entry), kind_of(urlsplit(entry).path), entry)
        elif "://" in source:
            place = urljoin(source, entry) if source.startswith("http") else f"{source.rpartition('/')[0]}/{entry}"
            yield Input(shown(place), kind_of(entry), place)
        else:
            yield _of_named(shown(entry), Path(source).parent / entry)


def _of_address(source: str) -> Iterator[Input]:
    try:
        yield from remote.entries(source, SUFFIXES)
    except NotFoundError as error:
        raise UsageError(str(error)) from None


def _of_entry(entry: Source | ErrorResult) -> Input:
    if isinstance(entry, ErrorResult):
        return Input.of_error(entry)
    assert isinstance(entry.data, Path)  # the other kinds are addresses and standard input
    return _of_path(entry.name, entry.data)


def _of_named(name: str, path: Path) -> Input:
    """Return the input for a file in a list. A pipe or device is an error, as in a folder, because reading it may block forever."""
    found = file_at(path, named=False)
    if isinstance(found, ErrorResult) and found.code == UnsupportedMediaError.code:
        return Input.of_error(replace(found, source=name, message=found.message.replace(found.source, name)))
    return _of_path(name, path)  # a file that is missing or unreadable now may be readable later


def _of_path(name: str, path: Path) -> Input:
    place = absolute(path)
    try:
        status = path.stat()
    except (OSError, ValueError):  # reading it later reports the reason, or succeeds
        return Input(name, kind_of(name), place)
    return Input(name, kind_of(name), place, status.st_size, status.st_mtime_ns)
