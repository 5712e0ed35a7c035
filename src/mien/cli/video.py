"""``mien video``: a video in; records, an annotated copy, a timeline and a summary out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.atomic import atomic_write
from mien.cli.console import PICTURE_ENDINGS, check_ending, check_free, check_no_input, counted, fail, say, show
from mien.cli.endings import in_order
from mien.cli.options import Detector, MaxBytes, MaxPixels, MinFace, Model, ModelThreads, Overwrite
from mien.cli.output import text_output
from mien.errors import MediaError
from mien.results import ErrorResult

if TYPE_CHECKING:
    from mien.media.images import ReadLimits
    from mien.pipeline import Pipeline
    from mien.sinks import Sink
    from mien.timeline import Presence, Timeline

RECORD_ENDINGS = (".jsonl", ".csv", ".parquet")


def video(
    source: Annotated[
        str, typer.Argument(help="A video file, the address of a stream, a folder of pictures, a quoted glob of pictures, or - for stdin.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the records: .jsonl, .csv or .parquet.")] = None,
    annotated: Annotated[Path | None, typer.Option(help="File for a copy with boxes, ids, labels and the sound: .mp4.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="File for a chart of each person's expressions over time: .png, .jpg or .webp.")
    ] = None,
    summary: Annotated[bool, typer.Option("--summary", help="Print how many seconds each person showed each expression.")] = False,
    min_seen: Annotated[
        float, typer.Option(help="In seconds. A person seen for less does not count as a person in the summary and the timeline.")
    ] = 0.5,
    every: Annotated[float | None, typer.Option(help="Seconds between analysed frames. Default: every frame is analysed.")] = None,
    detect_every: Annotated[
        int,
        typer.Option(help="Number of frames from one search for new faces to the next. 1 searches every frame: slowest, and misses least."),
    ] = 5,
    model: Model = "default",
    detector: Detector = "auto",
    min_face: MinFace = "auto",
    max_pixels: MaxPixels = 250_000_000,
    max_bytes: MaxBytes = 200_000_000,
    threads: ModelThreads = 1,
    overwrite: Overwrite = False,
) -> None:
    """Track every face of a video and report which expressions it shows, and when.

    Without an option for an output, records go to stdout as JSON Lines.
    """
    from mien.detect.find import check_min_face
    from mien.media.images import ReadLimits, display_name
    from mien.media.sources import Source, expand
    from mien.media.video import check_every
    from mien.pipeline import Pipeline
    from mien.timeline import Timeline

    check_every(every)
    inputs = [item.data for item in expand([source] if source != "-" else []) if isinstance(item, Source)]
    for path, endings in ((output, RECORD_ENDINGS), (annotated, (".mp4",)), (timeline, PICTURE_ENDINGS)):
        if path:
            check_ending(path, endings)
            check_free(path, overwrite)
            check_no_input(path, inputs)
    limits = ReadLimits(max_bytes=max_bytes, max_pixels=max_pixels)
    pipeline = Pipeline(model=model, detector=detector, min_face=check_min_face(min_face), threads=threads, limits=limits)
    story = Timeline(pipeline.labels, min_seen_s=min_seen)
    to_stdout = not (output or annotated or timeline or summary)
    job = _Job(source, display_name(source), pipeline, story, every, detect_every, limits)
    problem: OSError | None = None
    complete = False
    try:
        with ExitStack() as stack:
            sink = _open_records(stack, output, to_stdout, overwrite, pipeline)
            complete = job.run(sink, annotated)
    except BrokenPipeError:
        raise
    except OSError as error:  # the files written until then are complete by now
        problem = error
    if timeline and job.frames:
        try:
            _save_picture(timeline, story, job.name)
        except OSError as error:
            problem = problem or error
    if problem:
        fail(f"expected room for what is written, the system refuses ({problem.strerror or problem}); free some, or choose another place")
    if summary and job.frames:
        _print_summary(story.presences(), pipeline.labels, _not_counted(story))
    if not complete:
        raise typer.Exit(1)


@dataclass
class _Job:
    """One pass over one video."""

    source: str
    name: str
    pipeline: Pipeline
    story: Timeline
    every_s: float | None
    detect_every: int
    limits: ReadLimits
    frames: int = 0
    errors: int = 0
    part: str = "picture"

    def run(self, sink: Sink | None, annotated: Path | None) -> bool:
        """Process all frames. Return False if a part of the video could not be read, or if the user stopped the job."""
        from mien.media.standard_input import open_input
        from mien.media.video import Clip
        from mien.video_job import video_records

        began = time.monotonic()
        with in_order() as ending, ExitStack() as stack, _progress() as (opened, done):
            stopped = ending.asked

            def open_clip() -> Clip:
                clip = open_input(self.source, stack, limits=self.limits)
                self.part = clip.part
                return clip

            def begin(duration_s: float | None) -> None:
                ending.finish()  # from here on the loop checks for a stop itself and leaves nothing half written
                opened(duration_s)

            records = video_records(
                self.pipeline,
                open_clip,
                name=self.name,
                every_s=self.every_s,
                detect_every=self.detect_every,
                annotated=annotated,
                timeline=self.story,
                stopped=stopped,
                on_open=begin,
                on_sound_lost=lambda why: say(f"mien: the sound of {self.name} cannot be copied, or not completely ({why})"),
            )
            try:
                with closing(records):
                    for record in records:
                        if sink:
                            sink.write(record)
                        if isinstance(record, ErrorResult):
                            self.errors += 1
                            say(f"mien: {record.message} [{record.code}]")
                        else:
                            self.frames += 1
                            done(record.time_s or 0.0)
            except MediaError:  # its error record was the last record
                say(f"{counted(self.frames, 'frame')} before that" if self.frames else "no frame could be read")
                return False
        seconds = max(time.monotonic() - began, 1e-6)
        people = len(self.story.presences())
        pace = f"{counted(self.frames, 'frame')} in {seconds:.1f} s ({self.frames / seconds:.1f} frames/s)"
        say(f"{pace}, {people} {'person' if people == 1 else 'people'}")
        if ghosts := _not_counted(self.story):
            say(ghosts)
        if self.errors:
            say(f"{counted(self.errors, self.part)} could not be read")
        if stopped.is_set():
            say("stopped; what was done until then is complete")
        return not stopped.is_set() and not self.errors


@contextmanager
def _progress() -> Iterator[tuple[Callable[[float | None], None], Callable[[float], None]]]:
    """Yield two functions that update a progress bar. Without a terminal they do nothing.

    The first takes the length of the video in seconds, once it is known. The second takes the time of each finished frame in seconds.
    """
    if not sys.stderr.isatty():
        yield lambda _: None, lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    frames, began = 0, time.monotonic()
    columns: Sequence[Any] = (
        TextColumn("video"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("video", total=None, speed="")

        def opened(duration_s: float | None) -> None:
            bar.update(task, total=duration_s)

        def done(time_s: float) -> None:
            nonlocal frames
            frames += 1
            bar.update(task, completed=time_s, speed=f"{frames / max(time.monotonic() - began, 1e-6):.1f} frames/s")

        yield opened, done


def _open_records(stack: ExitStack, output: Path | None, to_stdout: bool, overwrite: bool, pipeline: Pipeline) -> Sink | None:
    from mien.sinks import open_sink

    if not output and not to_stdout:
        return None
    out = stack.enter_context(text_output(output, overwrite))
    kind = output.suffix.lower()[1:] if output else "jsonl"
    return stack.enter_context(open_sink(kind, out, pipeline.labels))


def _save_picture(path: Path, story: Timeline, source: str) -> None:
    from PIL import Image

    with atomic_write(path, ending=f".part{path.suffix}") as draft:
        Image.fromarray(story.picture(Path(source).name)).save(draft)


def _not_counted(story: Timeline) -> str:
    """Return the sentence about those who were seen too briefly to count as people; empty if there are none."""
    return f"not counted: {counted(story.too_short, 'track')} seen for less than {story.min_seen_s:g} s" if story.too_short else ""


def _print_summary(presences: Sequence[Presence], labels: Sequence[str], note: str) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", title="seconds per person and expression", title_style="")
    for head in ("who", "from", "to", "seen", *labels):
        table.add_column(head, justify="right")
    for presence in presences:
        times = (presence.first_s, presence.last_s, presence.seconds, *(presence.seconds_by_label[label] for label in labels))
        table.add_row(f"#{presence.track_id}", *(f"{value:.1f}" for value in times))
    show(table if presences else "nobody was seen")
    if note:
        show(note)
