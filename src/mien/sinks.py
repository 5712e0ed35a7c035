"""Results -> JSON Lines, CSV, Parquet, or a table for people. Each sink takes one record at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Protocol, Self, TextIO

from mien.atomic import atomic_write
from mien.errors import MissingExtraError, UsageError
from mien.results import POINTS, SCHEMA, ErrorResult, Face, Record, csv_columns
from mien.wording import in_words, printable

Format = Literal["table", "jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("table", "jsonl", "csv", "parquet")
WIDE = 110  # columns; a table of this width has full labels; also the width without a terminal


class Sink(Protocol):
    """An object that writes records until it is closed."""

    def write(self, record: Record) -> None:
        """Write one record."""

    def close(self) -> None:
        """Write the rest. The stream stays open."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""


def open_sink(kind: str, out: TextIO, labels: Sequence[str]) -> Sink:
    """Return a sink of ``kind`` writing to ``out``.

    Args:
        kind: one of :data:`FORMATS`.
        out: a text stream; Parquet goes to its binary buffer.
        labels: the labels of the model, which become columns.

    Raises:
        UsageError: the kind is unknown.
        MissingExtraError: the kind is Parquet and pyarrow is not installed.
    """
    if kind == "jsonl":
        return JsonLines(out)
    if kind == "csv":
        return Csv(out, labels)
    if kind == "table":
        return Table(out, labels)
    if kind == "parquet":
        return Parquet(out.buffer, labels, spare=getattr(out, "spare", None))
    raise UsageError(f"unknown format {kind!r}; expected one of {', '.join(FORMATS)}")


class _Closing:
    def close(self) -> None:
        """Do nothing, because nothing is buffered."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class JsonLines(_Closing):
    """One JSON object per line, as :meth:`FrameResult.to_dict` returns it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, record: Record) -> None:
        """Write one line and flush it, so that the reader of a pipe sees it at once."""
        self._out.write(json.dumps(record.to_dict(), ensure_ascii=True, allow_nan=False) + "\n")
        self._out.flush()


class Csv(_Closing):
    """One row per face. A photo without faces, or an input with an error, has one row with empty columns for the face."""

    def __init__(self, out: TextIO, labels: Sequence[str]) -> None:
        self._out = out
        self._rows = io.StringIO()
        self._writer = csv.DictWriter(self._rows, csv_columns(labels), restval="", lineterminator="\n")
        self._writer.writeheader()

    def write(self, record: Record) -> None:
        """Write the record's rows together and flush them, so that no record is cut in two."""
        self._writer.writerows(flat_rows(record))
        self.close()
        self._out.flush()

    def close(self) -> None:
        """Write the header, if there was no record."""
        self._out.write(self._rows.getvalue())
        self._rows.seek(0)
        self._rows.truncate()


class Parquet(_Closing):
    """The rows of :class:`Csv` as a Parquet file, written in groups.

    A Parquet file cannot be read before it is closed. Until then, each group is also a file in the folder ``spare``, if given. These files
    survive a kill, and the folder can be read as one table. The caller removes the folder.
    """

    ROWS_A_GROUP = 4096
    _WHOLE = ("frame_index", "width", "height", "face_count", "face_index", "track_id")
    _TEXT = ("schema", "source", "top", "model_name", "model_version", "notes", "error_code", "error_message")

    def __init__(self, out: BinaryIO, labels: Sequence[str], *, spare: Path | None = None) -> None:
        """Start the file.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ModuleNotFoundError:
            raise MissingExtraError("pyarrow", "video") from None

        kinds = dict.fromkeys(self._WHOLE, pa.int64()) | dict.fromkeys(self._TEXT, pa.string()) | {"uncertain": pa.bool_()}
        self._schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in csv_columns(labels)])
        self._to_table, self._parquet = pa.Table.from_pylist, parquet
        self._out, self._spare = out, spare
        self._writer: Any = None
        self._groups: list[Path] = []  # in the folder
        self._rows: list[dict[str, Any]] = []

    def write(self, record: Record) -> None:
        """Add the record's rows."""
        self._rows.extend(flat_rows(record))
        if len(self._rows) < self.ROWS_A_GROUP:
            return
        if self._spare:
            self._set_aside(self._spare)
        else:
            self._write_group()

    def close(self) -> None:
        """Write the rest and the footer, which makes the file readable."""
        for group in self._groups:
            self._add(self._parquet.read_table(group, schema=self._schema))
        self._write_group()
        self._open().close()

    def _open(self) -> Any:
        self._writer = self._writer or self._parquet.ParquetWriter(self._out, self._schema)
        return self._writer

    def _add(self, table: Any) -> None:
        self._open().write_table(table)

    def _write_group(self) -> None:
        if self._rows:
            self._add(self._to_table(self._rows, schema=self._schema))
            self._rows.clear()

    def _set_aside(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        group = folder / f"{len(self._groups):06d}.parquet"
        with atomic_write(group) as draft:
            self._parquet.write_table(self._to_table(self._rows, schema=self._schema), draft)
        self._groups.append(group)
        self._rows.clear()


class Table(_Closing):
    """A table for a terminal, written when it is closed."""

    def __init__(self, out: TextIO, labels: Sequence[str]) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table as RichTable

        self._console = Console(file=out, highlight=False, width=None if out.isatty() else WIDE)
        self._table = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        self._table.add_column("source", overflow="fold")
        self._table.add_column("face", justify="right", no_wrap=True)
        self._table.add_column("reads as", min_width=10)
        for label in labels:
            short = label if self._console.width >= WIDE else label[:4]
            self._table.add_column(escape(short), justify="right", no_wrap=True)

    def write(self, record: Record) -> None:
        """Add the record's rows."""
        from rich.markup import escape

        source = escape(printable(record.source))
        if isinstance(record, ErrorResult):
            self._table.add_row(source, "", f"[red]error {record.code}[/]")
        elif not record.faces:
            self._table.add_row(source, "0", "[dim]no face found[/]")
        else:
            for number, face in enumerate(record.faces, 1):
                self._table.add_row(source if number == 1 else "", str(number), escape(in_words(face)), *self._cells(face))

    def _cells(self, face: Face) -> Iterator[str]:
        for label, probability in face.emotions.to_dict().items():
            text = f"{probability:.2f}"
            yield f"[bold]{text}[/]" if label == face.top else text

    def close(self) -> None:
        """Print the table."""
        if self._table.row_count:
            self._console.print(self._table)


def flat_rows(record: Record) -> Iterable[dict[str, Any]]:
    """Yield one flat row per face, or one row for a record without faces."""
    row: dict[str, Any] = {
        "schema": SCHEMA,
        "source": record.source,
        "frame_index": record.frame_index,
        "time_s": record.time_s,
    }
    if isinstance(record, ErrorResult):
        yield row | {"error_code": record.code, "error_message": record.message}
        return
    row |= {
        "width": record.width,
        "height": record.height,
        "face_count": len(record.faces),
        "model_name": record.model.name,
        "model_version": record.model.version,
        "notes": "; ".join(record.notes),
    }
    if not record.faces:
        yield row
    for index, face in enumerate(record.faces):
        smoothed = {f"smoothed_{label}": p for label, p in face.smoothed.to_dict().items()} if face.smoothed else {}
        yield (
            row
            | {"face_index": index, "score": face.score, "top": face.top, "confidence": face.confidence}
            | {"uncertain": face.uncertain, "track_id": face.track_id}
            | dict(zip(("x0", "y0", "x1", "y1"), face.box_xyxy, strict=True))
            | {
                f"{name}_{axis}": value
                for name, point in zip(POINTS, face.landmarks, strict=True)
                for axis, value in zip("xy", point, strict=True)
            }
            | face.emotions.to_dict()
            | smoothed
        )
