"""Remote objects, through fsspec: s3://, gs://, hf://, http(s):// and all addresses with an installed driver."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from mien.batch.inputs import Input, kind_of, shown
from mien.errors import FetchError, MediaError, MissingExtraError, NotFoundError, TooLargeError, UnreadableError, UsageError
from mien.media.sources import GLOB_CHARACTERS

REFUSED = ("Access Denied", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Unable to locate credentials")


def read(place: str, max_bytes: int, size: int | None = None) -> bytes:
    """Return the object at an address, in one request if its ``size`` is known.

    Raises:
        NotFoundError: the object does not exist.
        UnreadableError: access is denied.
        FetchError: the object cannot be reached now.
        TooLargeError: the object has more than ``max_bytes``.
    """
    with reaching(place):
        fs, path = _filesystem(place)
        size = int(fs.info(path)["size"] or 0) if size is None else size
        if size > max_bytes:
            more = "make the file smaller, or allow more with --max-bytes (max_bytes)"
            raise TooLargeError(f"expected at most {max_bytes:,} bytes, got {size:,} in {place}; {more}")
        return bytes(fs.cat_file(path)) if size else b""


def read_part(place: str, start: int, size: int) -> bytes:
    """Return ``size`` bytes of the object from byte ``start``. Raises the errors of :func:`read`."""
    with reaching(place):
        fs, path = _filesystem(place)
        return bytes(fs.cat_file(path, start=start, end=start + size)) if size else b""


def copy(place: str, file: Path) -> None:
    """Write the object to a file. Raises the errors of :func:`read`."""
    with open_object(place) as source, file.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)


@contextmanager
def open_object(place: str) -> Iterator[BinaryIO]:
    """Yield the object as a seekable file. Raises the errors of :func:`read`, also while it is read."""
    with reaching(place):
        fs, path = _filesystem(place)
        with fs.open(path, "rb") as file:
            yield cast("BinaryIO", file)


def entries(place: str, suffixes: tuple[str, ...]) -> Iterator[Input]:
    """Yield the objects of an address: the object itself, the objects in a folder, or the matches of a glob.

    Raises:
        NotFoundError: there are no objects.
        MediaError: the objects cannot be listed.
    """
    if urlsplit(place).scheme in ("http", "https"):
        yield Input(shown(place), kind_of(urlsplit(place).path), place)
        return
    with reaching(place):
        fs, path = _filesystem(place)
        globbed = not GLOB_CHARACTERS.isdisjoint(path)
        found = deque([fs.info(match) for match in sorted(fs.glob(path))] if globbed else _listed(fs, path))
    empty = True
    while found:
        entry = found.popleft()
        name = str(entry["name"])
        if entry["type"] == "directory":
            with reaching(place):
                found.extendleft([] if globbed else reversed(_listed(fs, name)))
        elif name.lower().endswith(suffixes) or name == path or globbed:
            empty = False
            address = str(fs.unstrip_protocol(name))
            yield Input(shown(address), kind_of(name), address, entry["size"])
    if empty:
        raise NotFoundError(f"expected photos or videos at {place}, got none; files that count end in {' '.join(suffixes)}")


def size_of(place: str) -> int | None:
    """Return the size of an object in bytes, or None if its server does not send it. Raises the errors of :func:`read`."""
    with reaching(place):
        fs, path = _filesystem(place)
        size = fs.info(path)["size"]
        return None if size is None else int(size)


@contextmanager
def reaching(place: str) -> Iterator[None]:
    """Turn any error of a driver into a MediaError that says whether a retry can help."""
    try:
        yield
    except (MediaError, UsageError, MissingExtraError):
        raise
    except FileNotFoundError:
        raise NotFoundError(f"expected something at {place}, which does not exist; check the address") from None
    except PermissionError as error:
        raise UnreadableError(f"expected to read {place}, which its server refuses ({_line(error)}); check the credentials") from None
    except Exception as error:  # each driver has its own errors: botocore's, aiohttp's, google's, OSError, TimeoutError
        if "://" not in place:
            raise UnreadableError(f"expected to read {place}, which the system refuses ({_line(error)})") from None
        status = getattr(error, "status", None)
        if status in (404, 410):
            raise NotFoundError(f"expected something at {place}, got HTTP {status}: there is nothing; check the address") from None
        if any(word in str(error) for word in REFUSED) or status in (401, 403):
            raise UnreadableError(f"expected to read {place}, which its server refuses ({_line(error)}); check the credentials") from None
        raise FetchError(f"expected to read {place}, got no answer ({_line(error)}); check the network", transient=True) from None


def _filesystem(place: str) -> tuple[Any, str]:
    try:
        fs, path = _opened(place.partition("://")[0], place)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fsspec", "batch") from None
    except (ImportError, ValueError) as error:  # fsspec names the package that an address needs
        raise UsageError(f"cannot read {place}: {_line(error)}") from None
    return fs, path


def _opened(scheme: str, place: str) -> tuple[Any, str]:
    import fsspec

    fs = _driver(scheme)
    return fs, str(fsspec.get_filesystem_class(scheme)._strip_protocol(place))


@lru_cache(maxsize=8)
def _driver(scheme: str) -> Any:
    import fsspec

    return fsspec.filesystem(scheme, use_listings_cache=False)


def _listed(fs: Any, path: str) -> list[dict[str, Any]]:
    info = fs.info(path)
    if info["type"] != "directory":
        return [info]
    listed = [entry for entry in fs.ls(path, detail=True) if not _hidden(entry["name"]) and entry["name"].rstrip("/") != path.rstrip("/")]
    return sorted(listed, key=lambda entry: str(entry["name"]))


def _hidden(name: str) -> bool:
    return name.rstrip("/").rpartition("/")[2].startswith(".")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
