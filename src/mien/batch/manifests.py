"""Lists of inputs: a text file with one path or address per line, CSV, or Parquet."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

from mien.batch import remote
from mien.batch.archives import is_damage
from mien.errors import CorruptMediaError, MissingExtraError, NotFoundError, UnreadableError, UsageError

SUFFIXES = (".txt", ".lst", ".csv", ".tsv", ".parquet")
PIECE = 2**16  # bytes per read of a text list
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
COLUMNS = ("source", "path", "file", "url", "image", "filename", "file_name", "image_path")


def is_manifest(name: str) -> bool:
    """Return whether a file is a list of inputs, by its ending."""
    return name.lower().endswith(SUFFIXES)


def entries(place: str, column: str | None) -> Iterator[str]:
    r"""Yield the paths and addresses of a list, unchanged.

    A text file has one per line, or is separated by null characters (the output of ``find -print0``, for names with line breaks). In CSV
    and Parquet the inputs are in the text column ``column``, or else in the first of :data:`COLUMNS` that exists. A table with only one
    column needs no name.

    Raises:
        MediaError: the list cannot be read.
        UsageError: there is no such column.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(remote.open_object(place) if "://" in place else Path(place).open("rb"))  # noqa: SIM115
        except FileNotFoundError:
            raise NotFoundError(f"expected a list at {place}, which does not exist; check the path") from None
        except OSError as error:
            raise UnreadableError(f"expected to read the list {place}, which the system refuses ({error.strerror})") from None
        lower = place.lower()
        if lower.endswith(".parquet"):
            yield from _of_parquet(file, place, column)
        elif lower.endswith((".csv", ".tsv")):
            yield from _of_csv(file, place, column, "\t" if lower.endswith(".tsv") else ",")
        else:
            yield from _of_text(file)


def _of_text(file: BinaryIO) -> Iterator[str]:
    pieces = _pieces(file)
    rest = next(pieces, b"")
    null = b"\0" in rest
    while rest:
        *whole, rest = rest.split(b"\0" if null else b"\n")
        yield from (name for line in whole if (name := _decoded(line, null)))
        if not (more := next(pieces, b"")):
            break
        rest += more
    if name := _decoded(rest, null):
        yield name


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file in pieces. A file that starts as UTF-16, such as ``dir /b > list.txt`` in PowerShell, is converted to UTF-8."""
    decoder = None
    for number, piece in enumerate(iter(lambda: file.read(PIECE), b"")):
        if not number and piece.startswith(UTF_16):
            decoder = codecs.getincrementaldecoder("utf-16")("replace")
        yield decoder.decode(piece).encode("utf-8") if decoder else piece


def _decoded(line: bytes, null: bool) -> str:
    return (line if null else line.rstrip(b"\r").strip()).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _of_csv(file: BinaryIO, place: str, column: str | None, delimiter: str) -> Iterator[str]:
    begins = file.peek(2) if isinstance(file, io.BufferedReader) else b""
    encoding = "utf-16" if begins.startswith(UTF_16) else "utf-8-sig"
    with io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="") as text:
        rows = csv.DictReader(text, delimiter=delimiter)
        try:
            chosen = _column(list(rows.fieldnames or ()), place, column)
            yield from (name for row in rows if (name := row[chosen]))
        except csv.Error as error:
            raise CorruptMediaError(f"expected CSV in {place}, line {rows.line_num} is none ({error})") from None


def _of_parquet(file: BinaryIO, place: str, column: str | None) -> Iterator[str]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise MissingExtraError("pyarrow", "batch") from None
    try:
        table = parquet.ParquetFile(file)
        chosen = _column([field.name for field in table.schema_arrow if _is_text(field.type)], place, column)
        for batch in table.iter_batches(columns=[chosen]):
            yield from (cast("str", name) for name in batch.column(0).to_pylist() if name)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise CorruptMediaError(f"expected a Parquet file in {place}, got one that is cut short or damaged ({error})") from None


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(value) or types.is_large_string(value))


def _column(names: list[str], place: str, wanted: str | None) -> str:
    if wanted is not None and wanted in names:
        return wanted
    if wanted is None and (known := [name for name in COLUMNS if name in names] or (names if len(names) == 1 else [])):
        return known[0]
    there = ", ".join(names) or "none"
    raise UsageError(f"expected a column of text, {wanted or ' or '.join(COLUMNS[:4])}, in {place}, it has {there}; name it with --column")
