"""``mien data``: check the contents of a data folder, and write an aligned copy of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import fail, say, show, training_wing
from mien.cli.verb import Verb

app = typer.Typer(help="Training data.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Check and align training data."""


@app.command(cls=Verb)
def check(
    folder: Annotated[Path, typer.Argument(help="Folder with train/<label>/*.jpg, or fer2013.csv.")],
) -> None:
    """Count images per label and split. Find missing labels, wrong counts, unreadable files and copies between train and test."""
    with training_wing():
        from rich.table import Table

        from mien.train.data.check import HOW_TO_GET_FER2013
        from mien.train.data.check import check as check_data

    if not folder.exists():
        say(HOW_TO_GET_FER2013)
        fail(f"no data at {folder}")
    report = check_data(folder)
    table = Table(show_edge=False)
    table.add_column("split")
    for name in (*report.label_names, "all"):
        table.add_column(name, justify="right")
    for split, row in report.counts.items():
        table.add_row(split, *map(str, row), str(sum(row)))
    show(table)
    for note in report.notes:
        typer.echo(note)
    for problem in report.problems:
        typer.echo(f"problem: {problem}")
    if report.problems:
        say(HOW_TO_GET_FER2013)
        fail(f"{folder} has {len(report.problems)} problem{'s' * (len(report.problems) > 1)}")


@app.command(cls=Verb)
def align(
    folder: Annotated[Path, typer.Argument(help="Folder with train/<label>/*.jpg, or <label>/*.jpg, or fer2013.csv.")],
    out: Annotated[Path, typer.Option(help="New folder for the aligned copy.")],
    size: Annotated[int, typer.Option(min=16, max=512, help="Side of the square chips, in pixels.")] = 48,
) -> None:
    """Write an aligned copy: the largest face of every photo or crop is turned, scaled and moved to match the template."""
    with training_wing():
        from rich.console import Console
        from rich.progress import Progress

        from mien.detect import find_detector
        from mien.train.data.alignment import write_aligned

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("aligning", total=None)
        counts = write_aligned(
            folder, out, find_detector(), size=size, on_picture=lambda done, total: progress.update(bar, completed=done, total=total)
        )
    say(f"{out}: {counts.moved} faces aligned, {counts.kept} pictures kept whole because no face was found")
    for reason in counts.unreadable:
        say(f"left out: {reason}")
