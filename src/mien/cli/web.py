"""``mien web``: files that the web page needs in addition to the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import say
from mien.cli.verb import Verb

app = typer.Typer(help="Files of the web page.", no_args_is_help=True)


@app.callback()
def web() -> None:
    """Install files for the web page of `mien serve`."""


@app.command("install-runtime", cls=Verb)
def install_runtime(
    registry: Annotated[
        str | None, typer.Option(help="Address of an npm registry. Default: the registry that npm is configured for.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Tarball of the package, if you already have it. Then nothing is downloaded.")] = None,
) -> None:
    """Download ONNX Runtime Web (33 MB, fixed version, checked). With it the page works in the browser alone: no frame leaves it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from mien.serve.browser_runtime import PACKAGE, VERSION, install, runtime_folder

    if folder := runtime_folder():
        say(f"{PACKAGE} {VERSION} is installed already, in {folder}")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"{PACKAGE} {VERSION}", total=None)
        folder = install(registry, file, lambda done, total: progress.update(bar, completed=done, total=total))
    say(f"{PACKAGE} {VERSION} is in {folder}; the page of mien serve now offers “In this browser only”")
