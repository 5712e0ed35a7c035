"""``mien batch``: jobs over many files. After any kill, the same command finishes the job."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import counted, say
from mien.cli.endings import in_order
from mien.cli.options import Detector, DownloadTimeout, MaxBytes, MaxPixels, MinFace, Model
from mien.errors import UsageError

if TYPE_CHECKING:
    from mien.batch.job import Engine, Outcome, Progress
    from mien.batch.plan import Planned

SAY_EVERY_S = 30.0  # between two lines of progress, without a terminal


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, quoted globs, s3:// and other addresses, .tar and .zip archives, .txt, .csv or .parquet lists."
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the job: records, manifest, report.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    workers: Annotated[
        int | None, typer.Option(help="Worker processes. Default: one per core; with ray, one per core of the cluster.")
    ] = None,
    format: Annotated[str, typer.Option(help="parquet or jsonl.")] = "parquet",  # noqa: A002
    address: Annotated[str | None, typer.Option(help="Address of the Ray cluster. Default: a new cluster on this machine.")] = None,
    column: Annotated[str | None, typer.Option(help="Column of a .csv or .parquet list with the names of the inputs.")] = None,
    every: Annotated[
        float | None, typer.Option(help="Seconds between analysed frames of a video. Default: every frame is analysed.")
    ] = None,
    detect_every: Annotated[int, typer.Option(help="Frames from one search for new faces in a video to the next. 1: every frame.")] = 5,
    model: Model = "default",
    detector: Detector = "auto",
    min_face: MinFace = "auto",
    max_pixels: MaxPixels = 250_000_000,
    max_bytes: MaxBytes = 200_000_000,
    provider: Annotated[list[str] | None, typer.Option(help="onnxruntime execution provider, such as CUDAExecutionProvider.")] = None,
    timeout_s: DownloadTimeout = 20,
    shard: Annotated[int, typer.Option(help="Photos per shard. A kill loses at most the unfinished shards.")] = 256,
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Retry inputs that could not be downloaded or read.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what the job would do, and write nothing.")] = False,
) -> None:
    """Analyse any number of photos and videos into Parquet, one record per photo or frame. `mien batch status DIR` reads a running job.

    After a stop, the same command continues the job. Exit status 0 means that every input has its records, including error records.
    """
    if output is None:
        if sources[0] == "status" and len(sources) == 2:
            _say_status(Path(sources[1]))
            return
        raise UsageError("name the job's folder with --output DIR (mien batch status DIR reads a running job)")
    from mien.batch import job
    from mien.batch.settings import Settings
    from mien.detect.find import check_min_face

    settings = Settings(
        model=model,
        detector=detector,
        min_face=check_min_face(min_face),
        max_pixels=max_pixels,
        max_bytes=max_bytes,
        every_s=every,
        detect_every=detect_every,
        format=format,  # type: ignore[arg-type]  # checked() validates it
        timeout_s=timeout_s,
        shard=shard,
        providers=tuple(provider or ()),
    ).checked()
    if dry_run:
        planned, shards_done = job.dry_run(output, sources, settings, column)
        say(_plan_in_words(planned, planned.shards - shards_done))
        return
    chosen = _engine(engine, workers, address)
    try:
        with in_order(), _progress() as show:
            outcome = job.run_job(
                output,
                sources,
                settings,
                chosen,
                column=column,
                retry_errors=retry_errors,
                on_plan=lambda planned, shards: say(_plan_in_words(planned, shards)),
                on_progress=show,
            )
    except KeyboardInterrupt:
        say(f"stopped; the shards that are done are kept in {output}, and the same command goes on from there")
        raise typer.Exit(1) from None
    _say_outcome(outcome, output)


def _engine(name: str, workers: int | None, address: str | None) -> Engine:
    from mien.batch.local import LocalEngine

    if name == "local":
        if address:
            raise UsageError("--address is for --engine ray")
        return LocalEngine(workers)
    if name == "ray":
        from mien.batch.cluster import RayEngine

        return RayEngine(address, workers)
    raise UsageError(f"unknown engine {name!r}; expected local or ray")


def _plan_in_words(planned: Planned, shards: int) -> str:
    parts = [counted(planned.photos, "photo"), counted(planned.videos, "video")]
    parts += [f"{planned.errors:,} that cannot be read"] if planned.errors else []
    again = f", {planned.duplicates:,} named again and taken once" if planned.duplicates else ""
    left = f"{shards:,} of {counted(planned.shards, 'shard')} to do" if shards else "nothing left to do"
    return f"{counted(planned.inputs, 'input')} ({', '.join(parts)}{again}), {planned.size / 1e9:.2f} GB; {left}"


def _say_outcome(outcome: Outcome, output: Path) -> None:
    tally = outcome.tally
    errors = sum(tally.errors.values())
    say(
        f"{counted(tally.inputs, 'input')} {'has its' if tally.inputs == 1 else 'have their'} {counted(tally.records, 'record')} "
        f"(counted in the files): {counted(tally.photos, 'photo')}, {counted(tally.frames, 'frame')} of {counted(tally.videos, 'video')}, "
        f"{counted(errors, 'error')}; {counted(tally.faces, 'face')}, {tally.uncertain:,} uncertain"
    )
    for code, count in sorted(tally.errors.items(), key=lambda pair: -pair[1]):
        say(f"  {count:,} {code}")
    if outcome.may_pass:
        say(f"{outcome.may_pass:,} of the errors may pass: add --retry-errors to try those inputs again")
    say(f"records: {output / 'records'}; report: mien report {output}")


def _say_status(path: Path) -> None:
    from mien.batch.job import read_progress

    progress, tally, planned, running = read_progress(path)
    finished = tally.inputs == planned.inputs
    state = "running" if running else "complete" if finished else "stopped: the same command goes on"
    errors = counted(sum(tally.errors.values()), "error")
    sys.stdout.write(f"{state}\n{tally.inputs:,} of {counted(planned.inputs, 'input')} in finished shards, {errors}\n")
    if running and progress:
        sys.stdout.write(_progress_in_words(progress) + "\n")


def _progress_in_words(progress: Progress) -> str:
    left = "" if progress.left_s is None else f", {_duration(progress.left_s)} left"
    return (
        f"{progress.done:,} of {counted(progress.inputs, 'input')}, {progress.rate:.1f} a second, {counted(progress.errors, 'error')}{left}"
    )


def _duration(seconds: float) -> str:
    minutes, _ = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min" if minutes else f"{seconds:.0f} s"


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows the progress of the job: a bar on a terminal, otherwise a line every SAY_EVERY_S seconds."""
    if not sys.stderr.isatty():
        last = time.monotonic()

        def tell(progress: Progress) -> None:
            nonlocal last
            if time.monotonic() - last >= SAY_EVERY_S:
                last = time.monotonic()
                say(_progress_in_words(progress))

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    with Bar(BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting")
        yield lambda progress: bar.update(task, total=progress.inputs, completed=progress.done, description=_progress_in_words(progress))
