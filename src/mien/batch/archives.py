"""Tar and zip archives: lists their members, and reads single members by position. Nothing is unpacked under a member's name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import BinaryIO, cast

from mien.batch import remote
from mien.batch.inputs import Input, kind_of, shown
from mien.errors import ChangedError, CorruptMediaError, TooLargeError, UnreadableError, UnsupportedMediaError
from mien.results import ErrorResult

PACKINGS = {
    ".tar": "tar",
    ".tar.gz": "tar.gz",
    ".tgz": "tar.gz",
    ".tar.bz2": "tar.bz2",
    ".tbz2": "tar.bz2",
    ".tar.xz": "tar.xz",
    ".txz": "tar.xz",
    ".zip": "zip",
}
INSIDE = "::"  # between an archive's name and a member's
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile, ValueError, NotImplementedError)
CHUNK_BYTES = 2**20


def packing_of(name: str) -> str:
    """Return the packing of an archive by its ending, or an empty text for any other file.

    >>> packing_of("PHOTOS.TGZ"), packing_of("photo.jpg")
    ('tar.gz', '')
    """
    return next((packing for ending, packing in PACKINGS.items() if name.lower().endswith(ending)), "")


def is_damage(error: Exception) -> bool:
    """Return whether an error is about damaged content. Libraries raise an OSError without errno for it; the system sets errno."""
    return isinstance(error, DAMAGE) or (type(error) is OSError and error.errno is None)


def members(name: str, place: str, suffixes: tuple[str, ...]) -> Iterator[Input]:
    """Yield the photos and videos of an archive, in its order, and error records for members that must not be read.

    Hidden members and those with other endings are left out, as in folders.

    Args:
        name: name of the archive in records.
        place: an absolute path or an address.
        suffixes: accepted endings, in lower case.

    Raises:
        MediaError: the archive cannot be opened at all.
    """
    packing = packing_of(place)
    size, changed_ns = _stamp(place)
    listed = _zip_members if packing == "zip" else _tar_members
    with _opened(place, packing) as file:
        try:
            for path, member_size, position, problem in listed(file):
                source = f"{name}{INSIDE}{shown(path)}"
                if not path.lower().endswith(suffixes):
                    continue
                trouble = _escape(path)
                if not trouble and _is_hidden(path):
                    continue
                if trouble := trouble or problem:
                    yield Input.of_error(ErrorResult(source, UnsupportedMediaError.code, trouble))
                    continue
                yield Input(source, kind_of(path), place, member_size, changed_ns, packing, position, size)
        except (*DAMAGE, OSError) as error:
            if not is_damage(error):
                raise
            message = f"expected a whole {packing} archive in {name}, got one that is cut short or damaged ({error}); copy it again"
            yield Input.of_error(ErrorResult(name, CorruptMediaError.code, message))


class OpenArchives:
    """Reads members by position. The last archive stays open, so that a compressed stream is read forward only once."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._place = ""
        self._file: BinaryIO | zipfile.ZipFile | None = None
        self._stack = ExitStack()

    def read(self, item: Input) -> bytes:
        """Return a member's bytes.

        Raises:
            TooLargeError: the member is over the limit of this object.
            CorruptMediaError: the archive ends inside the member, or is damaged.
            ChangedError: the archive has changed since it was listed.
            FetchError: the server of a remote archive does not answer.
        """
        size = item.size or 0
        if size > self._max_bytes:
            raise TooLargeError(f"expected at most {self._max_bytes:,} bytes, got {size:,} in {item.name}; make the file smaller")
        if item.packing == "tar" and "://" in item.place:
            data = remote.read_part(item.place, item.member or 0, size)
        else:
            target = io.BytesIO()
            self._pour(item, target)
            data = target.getvalue()
        if len(data) != size:
            raise CorruptMediaError(f"expected {size:,} bytes in {item.name}, got {len(data):,}; the archive was cut, copy it again")
        return data

    def copy(self, item: Input, path: Path) -> None:
        """Write a member to a file. Raises the errors of :meth:`read`, but has no size limit."""
        with path.open("wb") as target:
            self._pour(item, target)

    def close(self) -> None:
        """Close the open archive."""
        self._stack.close()
        self._place = ""

    def _pour(self, item: Input, target: BinaryIO) -> None:
        with self._lock:
            try:
                self._open(item)
                for data in self._chunks(item):
                    target.write(data)
            except (*DAMAGE, OSError) as error:
                self.close()
                if not is_damage(error):
                    raise
                message = f"expected a whole {item.packing} archive around {item.name}, got damage ({error}); copy it again"
                raise CorruptMediaError(message) from None
            except BaseException:
                self.close()
                raise

    def _chunks(self, item: Input) -> Iterator[bytes]:
        """Yield the bytes of a member, at most its planned size."""
        left = item.size or 0
        with ExitStack() as stack:
            if isinstance(self._file, zipfile.ZipFile):
                source = cast("BinaryIO", stack.enter_context(self._file.open(self._file.infolist()[item.member or 0])))
            else:
                source = cast("BinaryIO", self._file)
                source.seek(item.member or 0)
            while left and (data := source.read(min(left, CHUNK_BYTES))):
                left -= len(data)
                yield data

    def _open(self, item: Input) -> None:
        if item.place == self._place:
            return
        self.close()
        if _stamp(item.place) != (item.archive_size, item.changed_ns):
            raise ChangedError(
                f"expected the archive that was planned around {item.name}, got one that changed since; start a new job for it"
            )
        file = self._stack.enter_context(_opened(item.place, item.packing))
        self._file = self._stack.enter_context(zipfile.ZipFile(file)) if item.packing == "zip" else file
        self._place = item.place


def _stamp(place: str) -> tuple[int | None, int | None]:
    """Return size and modification time of an archive. The time is None for a remote object."""
    if "://" in place:
        return remote.size_of(place), None
    with remote.reaching(shown(place)):
        status = Path(place).stat()
    return status.st_size, status.st_mtime_ns


@contextmanager
def _opened(place: str, packing: str) -> Iterator[BinaryIO]:
    """Yield the archive as a file. If the whole archive is compressed, its bytes are decompressed."""
    with ExitStack() as stack:
        if "://" in place:
            file = stack.enter_context(remote.open_object(place))
        else:
            try:
                file = stack.enter_context(Path(place).open("rb"))
            except OSError as error:
                raise UnreadableError(f"expected to read {shown(place)}, which the system refuses ({error.strerror})") from None
        if packing == "tar.gz":
            file = cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=file)))
        elif packing == "tar.bz2":
            file = cast("BinaryIO", stack.enter_context(bz2.BZ2File(file)))
        elif packing == "tar.xz":
            file = cast("BinaryIO", stack.enter_context(lzma.LZMAFile(file)))
        yield file


def _tar_members(file: BinaryIO) -> Iterator[tuple[str, int, int, str]]:
    """Yield (path, size, first byte, problem) of every member that is not a folder."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # otherwise it keeps all of them in memory
            if member.size < 0:  # the next member would start before this one, in an endless loop
                raise tarfile.ReadError(f"a member of {member.size} bytes")
            if member.isdir():
                continue
            plain = member.isreg() and not member.issparse()
            problem = "" if plain else f"expected a file in the archive, got {shown(member.name)}, a link or device; pack the file itself"
            yield member.name, member.size, member.offset_data, problem


def _zip_members(file: BinaryIO) -> Iterator[tuple[str, int, int, str]]:
    with zipfile.ZipFile(file) as archive:
        for number, member in enumerate(archive.infolist()):
            if member.is_dir():
                continue
            locked = member.flag_bits & 1
            problem = f"expected an open file in the archive, got {shown(member.filename)}, which has a password" if locked else ""
            yield member.filename, member.file_size, number, problem


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


def _escape(path: str) -> str:
    """Return an error text if a member's path leads out of its archive."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if ".." in parts or path.startswith(("/", "\\")) or path[1:2] == ":":
        return f"expected a path inside the archive, got {shown(path)}, which leads out of it; pack it again with relative paths"
    return ""
