"""``mien web``: what the web page needs beside the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import say
from mien.cli.verb import Verb

app = typer.Typer(help="The web page's own parts.", no_args_is_help=True)


@app.callback()
def web() -> None:
    """Look after the web page of `mien serve`."""


@app.command("install-runtime", cls=Verb)
def install_runtime(
    registry: Annotated[str | None, typer.Option(help="An npm registry's address. Default: the one npm is set to.")] = None,
    file: Annotated[Path | None, typer.Option(help="The package's tarball, fetched by other means; nothing is downloaded then.")] = None,
) -> None:
    """Fetch ONNX Runtime Web (33 MB, pinned and checksummed) so that the page can work in the browser alone: no frame leaves it."""
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
