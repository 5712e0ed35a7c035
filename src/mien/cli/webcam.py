"""``mien webcam``: live results for the faces before a camera: in the browser, as a table on a terminal, or as JSON Lines."""

from __future__ import annotations

import sys
import webbrowser
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import counted, say
from mien.cli.endings import Ending, in_order
from mien.cli.options import Detector, Model, ModelThreads
from mien.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from mien.results import FrameResult

BAR = 24  # characters
MIN_FACE = 40  # px; smaller faces are further away than a webcam's user, and are left out


def webcam(
    device: Annotated[str, typer.Option(help="Number or path of the camera, or the address of a stream.")] = "0",
    frames: Annotated[int | None, typer.Option(help="Stop after this number of frames. Default: run until Ctrl-C.")] = None,
    model: Model = "default",
    detector: Detector = "auto",
    min_face: Annotated[
        str,
        typer.Option(help="Minimum shorter side of a face, in pixels. auto: 40, or 1/96 of the picture's longer side if that is larger."),
    ] = "auto",
    threads: ModelThreads = 1,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="Stay in the terminal, even where the page could open in a browser.")
    ] = False,
) -> None:
    """Show the expressions of the faces before the camera. Only the newest frame is analysed; frames that come too fast are dropped.

    With the extra 'serve', the page opens in the browser, and the browser uses the camera. No frame leaves this machine.
    """
    from mien.detect.find import Auto, check_min_face

    if frames is not None and frames < 1:
        raise UsageError(f"expected --frames of 1 or more, got {frames}; leave it out to go on until Ctrl-C")
    smallest = check_min_face(min_face)
    if isinstance(smallest, Auto):
        smallest = Auto(MIN_FACE)
    if not terminal and frames is None and device == "0" and _has_page():
        _open_page(model=model, detector=detector, min_face=MIN_FACE if isinstance(smallest, Auto) else smallest)
        return
    from mien.media.camera import camera_frames
    from mien.pipeline import Pipeline

    pipeline = Pipeline(model=model, detector=detector, min_face=smallest, threads=threads)
    try:
        with (
            in_order() as ending,
            closing(camera_frames(device, tell=say)) as source,
            closing(pipeline.stream(source, source=device, live=True)) as stream,
        ):
            results = stream if frames is None else (result for _, result in zip(range(frames), stream, strict=False))
            _show_table(results) if sys.stdout.isatty() else _write_lines(results, ending)
    except KeyboardInterrupt:
        say("stopped")


def _has_page() -> bool:
    """Return whether stdout is a terminal, the service is installed, and there is a browser."""
    from importlib.util import find_spec

    if not sys.stdout.isatty() or not all(map(find_spec, ("fastapi", "uvicorn", "pydantic_settings"))):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _open_page(**given: object) -> None:
    from mien.cli.serve import run, settings_from

    def open_page(address: str) -> None:
        if not webbrowser.open(f"{address}/#live"):
            say("no browser opened; open the address yourself, or stay in the terminal with --terminal")

    run(settings_from({"port": 0, **given}), open_page)


def _write_lines(results: Iterable[FrameResult], ending: Ending) -> None:
    from mien.sinks import JsonLines

    sink = JsonLines(sys.stdout)
    for result in results:
        with ending.held():
            sink.write(result)


def _show_table(results: Iterable[FrameResult]) -> None:
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        for result in results:
            live.update(_table(result), refresh=True)


def _table(result: FrameResult) -> Table:
    from rich.table import Table

    from mien.wording import in_words

    table = Table(
        title=f"{result.time_s or 0:.1f} s, {counted(len(result.faces), 'face')}; expressions as labelled by annotators", title_style="dim"
    )
    table.add_column("who", justify="right")
    table.add_column("reads as")
    table.add_column("how surely")
    for face in result.faces:
        confidence = (face.smoothed or face.emotions).confidence
        who = f"#{face.track_id}" if face.track_id is not None else ""
        table.add_row(who, in_words(face), f"{confidence:.2f} {'█' * round(BAR * confidence)}")
    return table
