"""``mien video``: a video in; records, an annotated copy, a timeline and a summary out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.endings import in_order
from mien.cli.output import text_output
from mien.cli.words import PICTURE_ENDINGS, check_ending, check_free, check_no_input, counted, fail, say, show
from mien.errors import MediaError
from mien.results import ErrorResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mien.media.video import VideoFrame
    from mien.pipeline import Pipeline
    from mien.results import FrameResult
    from mien.sinks import Sink
    from mien.timeline import Presence, Timeline

RECORD_ENDINGS = (".jsonl", ".csv", ".parquet")


def video(
    source: Annotated[
        str, typer.Argument(help="A video file, a stream's address, a folder of pictures, a quoted glob of them, or - for stdin.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Records, a .jsonl, .csv or .parquet file.")] = None,
    annotated: Annotated[Path | None, typer.Option(help="A copy with boxes, ids and labels, an .mp4 file, with the sound.")] = None,
    timeline: Annotated[Path | None, typer.Option(help="A picture of who showed what and when, a .png, .jpg or .webp file.")] = None,
    summary: Annotated[bool, typer.Option("--summary", help="Print the seconds a person and expression.")] = False,
    every: Annotated[float | None, typer.Option(help="Analyse one frame every so many seconds. Default: all frames.")] = None,
    detect_every: Annotated[int, typer.Option(help="Look for newcomers every so many frames; 1 is slowest and misses least.")] = 5,
    model: Annotated[str, typer.Option(help="default, nano, ferplus, or a bundle folder.")] = "default",
    detector: Annotated[str, typer.Option(help="auto, or a YuNet .onnx file.")] = "auto",
    min_face: Annotated[float, typer.Option(help="Leave out faces whose shorter side is smaller, in pixels.")] = 20,
    threads: Annotated[int, typer.Option(help="CPU threads for the model, beside those that read and search.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Follow every face of a video and tell what it showed when.

    Records go to stdout as JSON Lines when nothing else is asked for.
    """
    from mien.media.images import display_name
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
    pipeline = Pipeline(model=model, detector=detector, min_face=min_face, threads=threads)
    story = Timeline(pipeline.labels)
    to_stdout = not (output or annotated or timeline or summary)
    job = _Job(source, display_name(source), pipeline, story, every, detect_every)
    problem: OSError | None = None
    complete = False
    try:
        with ExitStack() as stack:
            sink = _open_records(stack, output, to_stdout, overwrite, pipeline)
            complete = job.run(sink, annotated)
    except BrokenPipeError:
        raise
    except OSError as error:  # what was written until then is finished by now
        problem = error
    if timeline and job.frames:
        try:
            _save_picture(timeline, story, job.name)
        except OSError as error:
            problem = problem or error
    if problem:
        fail(f"expected room for what is written, the system refuses ({problem.strerror or problem}); free some, or choose another place")
    if summary and job.frames:
        _print_summary(story.presences(), pipeline.labels)
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
    frames: int = 0
    left_out: int = 0
    part: str = "picture"
    time_s: float | None = None

    def run(self, sink: Sink | None, annotated: Path | None) -> bool:
        """Do everything that is done frame by frame; return False when something of it could not be read or the user stopped it."""
        from mien.draw import annotate
        from mien.media.standard_input import open_input
        from mien.media.video_writer import VideoWriter

        began = time.monotonic()
        with in_order() as ending, ExitStack() as stack:
            stopped = ending.asked
            writer, left_out = None, list[ErrorResult]()
            try:
                clip = open_input(self.source, stack)
                left_out, self.part = clip.left_out, clip.part
                stack.callback(clip.close)
                if annotated:
                    rate = min(clip.rate or 25, 1 / self.every_s) if self.every_s else clip.rate
                    writer = stack.enter_context(VideoWriter(annotated, rate=rate, sound_from=clip.sound_from))
                ending.finish()  # from here on the loop looks whether it shall stop, and leaves nothing half written
                with _progress(clip.duration_s) as show:
                    for result, frame in self._results(clip.frames(self.every_s), stopped):
                        show(result.time_s or 0.0)
                        self._tell(left_out, sink, until=result.frame_index)
                        if sink:
                            sink.write(result)
                        if writer:
                            writer.write(result.time_s or 0.0, self.story.draw_graphs(annotate(frame, result), result))
                if writer and not stopped.is_set():
                    writer.write_rest_of_sound()
                if writer and writer.sound_lost:
                    say(f"mien: the sound of {self.name} cannot go along, or not to its end ({writer.sound_lost})")
                self._tell(left_out, sink)
            except MediaError as error:
                self._tell(left_out, sink)
                if sink:
                    sink.write(ErrorResult(self.name, error.code, str(error), time_s=self.time_s))
                say(f"mien: {error} [{error.code}]")
                say(f"{counted(self.frames, 'frame')} before that" if self.frames else "no frame could be read")
                return False
        seconds = max(time.monotonic() - began, 1e-6)
        people = len(self.story.presences())
        pace = f"{counted(self.frames, 'frame')} in {seconds:.1f} s ({self.frames / seconds:.1f} frames/s)"
        say(f"{pace}, {people} {'person' if people == 1 else 'people'}")
        if self.left_out:
            say(f"{counted(self.left_out, self.part)} could not be read")
        if stopped.is_set():
            say("stopped; what was done until then is complete")
        return not stopped.is_set() and not self.left_out

    def _tell(self, errors: list[ErrorResult], sink: Sink | None, until: int | None = None) -> None:
        """Write the records of the pictures that were left out before frame ``until``; those after it wait for their turn."""
        from mien.media.video import left_out_before

        for error in left_out_before(errors[self.left_out :], until):
            self.left_out += 1
            if sink:
                sink.write(error)
            say(f"mien: {error.message} [{error.code}]")

    def _results(self, frames: Iterator[VideoFrame], stopped: Event) -> Iterator[tuple[FrameResult, NDArray[np.uint8]]]:
        stream = self.pipeline.stream_with_frames(frames, source=self.name, detect_every=self.detect_every)
        with closing(stream):
            for result, frame in stream:
                self.frames, self.time_s = self.frames + 1, result.time_s
                self.story.add(result)
                yield result, frame
                if stopped.is_set():
                    return


@contextmanager
def _progress(duration_s: float | None) -> Iterator[Callable[[float], None]]:
    """Give a function that takes the time of the frame just done and keeps a bar up to date, where there is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
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
        task = bar.add_task("video", total=duration_s, speed="")

        def show(time_s: float) -> None:
            nonlocal frames
            frames += 1
            bar.update(task, completed=time_s, speed=f"{frames / max(time.monotonic() - began, 1e-6):.1f} frames/s")

        yield show


def _open_records(stack: ExitStack, output: Path | None, to_stdout: bool, overwrite: bool, pipeline: Pipeline) -> Sink | None:
    from mien.sinks import open_sink

    if not output and not to_stdout:
        return None
    out = stack.enter_context(text_output(output, overwrite))
    kind = output.suffix.lower()[1:] if output else "jsonl"
    return stack.enter_context(open_sink(kind, out, pipeline.labels))


def _save_picture(path: Path, story: Timeline, source: str) -> None:
    from PIL import Image

    part = path.with_name(f".part-{path.name}")
    try:
        Image.fromarray(story.picture(Path(source).name)).save(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _print_summary(presences: Sequence[Presence], labels: Sequence[str]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", title="seconds a person and expression", title_style="")
    for head in ("who", "from", "to", "seen", *labels):
        table.add_column(head, justify="right")
    for presence in presences:
        times = (presence.first_s, presence.last_s, presence.seconds, *(presence.seconds_by_label[label] for label in labels))
        table.add_row(f"#{presence.track_id}", *(f"{value:.1f}" for value in times))
    show(table if presences else "nobody was seen")
