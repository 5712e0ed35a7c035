"""``mien analyze``: photos in, one record per photo out."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import check_free, check_no_input, counted, say
from mien.cli.endings import in_order
from mien.cli.options import Detector, DownloadTimeout, MaxBytes, MaxPixels, MinFace, Model, Overwrite
from mien.cli.output import text_output
from mien.errors import UsageError
from mien.results import ErrorResult

if TYPE_CHECKING:
    from mien.arrays import Frame
    from mien.media.sources import Source
    from mien.pipeline import Pipeline
    from mien.results import Record

    Pair = tuple[Record, Frame | None]

# a file's ending -> its format; a name without an ending, such as /dev/null or a named pipe, means JSON Lines
ENDINGS = {".jsonl": "jsonl", ".csv": "csv", ".txt": "table", ".parquet": "parquet"}
PROGRESS_FROM = 6  # inputs; fewer are finished before anyone could read a progress bar


def analyze(
    sources: Annotated[list[str], typer.Argument(help="Files, folders (with subfolders), quoted globs, http(s) URLs, or - for stdin.")],
    format: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            help="table, jsonl, csv or parquet. Default: by the output's ending; without --output, table on a terminal and else jsonl."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the records. Default: stdout.")] = None,
    annotate: Annotated[
        Path | None, typer.Option(help="Folder for copies of the photos with boxes, labels and charts drawn on them.")
    ] = None,
    model: Model = "default",
    detector: Detector = "auto",
    min_face: MinFace = "auto",
    max_pixels: MaxPixels = 250_000_000,
    max_bytes: MaxBytes = 200_000_000,
    threads: Annotated[int | None, typer.Option(help="Total number of CPU threads. Default: one per core.")] = None,
    timeout_s: DownloadTimeout = 20,
    overwrite: Overwrite = False,
) -> None:
    """Find every face and print its emotion probabilities, one record per photo."""
    from mien.cli.pictures import Pictures
    from mien.detect.find import check_min_face
    from mien.media.images import ReadLimits
    from mien.media.sources import Source, expand
    from mien.pipeline import Pipeline
    from mien.sinks import FORMATS, open_sink
    from mien.wording import printable

    if format and format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; expected one of {', '.join(FORMATS)}")
    kind = _kind_of(output, format)
    if kind == "parquet" and not output:
        raise UsageError("Parquet is not for reading on a terminal; name a file with --output FILE.parquet")
    if output:
        check_free(output, overwrite)
    pictures = Pictures(annotate, overwrite) if annotate else None
    limits = ReadLimits(max_bytes=max_bytes, max_pixels=max_pixels, timeout_s=timeout_s)
    pipeline = Pipeline(model=model, detector=detector, min_face=check_min_face(min_face), threads=threads, limits=limits)
    items = expand(sources, stdin=sys.stdin.buffer if sys.stdin else None, limits=limits)  # stdin is None if the caller closed it
    if output:
        check_no_input(output, (item.data for item in items if isinstance(item, Source)))
    if annotate:
        items = _without_annotated(items, annotate)
    tally: Counter[str] = Counter()
    with in_order() as ending, text_output(output, overwrite) as out, open_sink(kind, out, pipeline.labels) as sink:
        for record, frame in _with_progress(
            pipeline.analyze_with_frames(items) if pictures else _without_frames(pipeline, items), len(items)
        ):
            with ending.held():
                sink.write(record)
                tally.update(_count(record))
                if isinstance(record, ErrorResult):
                    say(f"mien: {printable(record.source) or repr('')}: {record.message} [{record.code}]")
                elif pictures and frame is not None and (problem := pictures.save(record, frame)):
                    tally["pictures missing"] += 1
                    say(f"mien: {problem}")
        ending.finish()
    if len(items) > 1 or tally["errors"]:
        found = [counted(tally["photos"], "photo"), counted(tally["faces"], "face"), f"{tally['without']:,} without a face"]
        say(", ".join([*found, counted(tally["errors"], "error")]))
    if tally["pictures missing"]:
        say(f"{counted(tally['pictures missing'], 'annotated picture')} not written; the records are complete")
    if tally["errors"] or tally["pictures missing"]:
        raise typer.Exit(1)


def _kind_of(output: Path | None, asked: str | None) -> str:
    if output is None:
        return asked or ("table" if sys.stdout.isatty() else "jsonl")
    told = ENDINGS.get(output.suffix.lower())
    if asked is None and told is None and output.suffix:
        raise UsageError(f"expected a file name that ends in {', '.join(ENDINGS)}, got {output}; or say --format")
    if asked and told and asked != told:
        raise UsageError(f"expected a file name that goes with --format {asked}, got {output}, which ends as {told} does; change one")
    return asked or told or "jsonl"


def _without_annotated(items: Sequence[Source | ErrorResult], folder: Path) -> list[Source | ErrorResult]:
    """Leave out annotated pictures that an earlier run wrote into the same output folder."""
    kept = [item for item in items if not _is_drawn(item, folder)]
    if drawn := len(items) - len(kept):
        say(f"{counted(drawn, 'annotated picture')} of an earlier run in {folder} left out")
    return kept


def _is_drawn(item: Source | ErrorResult, folder: Path) -> bool:
    from mien.cli.pictures import ANNOTATED

    path = getattr(item, "data", None)
    return isinstance(path, Path) and path.name.endswith(ANNOTATED) and path.parent.resolve() == folder.resolve()


def _without_frames(pipeline: Pipeline, items: Iterable[object]) -> Iterator[Pair]:
    return ((record, None) for record in pipeline.analyze_many(items))


def _count(record: Record) -> dict[str, int]:
    if isinstance(record, ErrorResult):
        return {"errors": 1}
    return {"photos": 1, "faces": len(record.faces), "without": 0 if record.faces else 1}


def _with_progress(records: Iterable[Pair], total: int) -> Iterator[Pair]:
    if total < PROGRESS_FROM or not sys.stderr.isatty():
        yield from records
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(records, total=total, description="photos", console=Console(stderr=True), transient=True)
