"""``mien demo``: analyse the portrait that comes with the package."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from mien.atomic import atomic_write
from mien.cli.console import PICTURE_ENDINGS, check_ending, check_free, say, show


def demo(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the annotated picture. Default: a new mien-demo.jpg in the current folder."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture if it exists.")] = False,
) -> None:
    """Find the face in the photo that comes with Mien, print its seven probabilities and write the annotated picture."""
    from PIL import Image
    from rich.table import Table

    from mien.assets import demo_photo
    from mien.draw import annotate
    from mien.media.images import read_photo
    from mien.pipeline import Pipeline
    from mien.wording import in_words

    file = output or _free_name()
    check_ending(file, PICTURE_ENDINGS)
    check_free(file, overwrite)
    pipeline = Pipeline()
    result = pipeline.analyze(demo_photo())
    face = result.faces[0]
    table = Table(title="Eileen Collins, astronaut (photo: NASA, public domain)", title_style="", show_edge=False)
    table.add_column("expression")
    table.add_column("probability", justify="right")
    table.add_column("")
    for label, probability in face.emotions.ranked():
        table.add_row(label, f"{probability:.3f}", "█" * round(30 * probability))
    show(table)
    box = ", ".join(f"{v:.0f}" for v in face.box_xyxy)
    typer.echo(f"\nReads as: {in_words(face)}. One face, at x0, y0, x1, y1 = {box}; model {result.model.name} {result.model.version}.")
    with atomic_write(file, ending=f".part{file.suffix}") as draft:
        Image.fromarray(annotate(read_photo(demo_photo()).frame_rgb, result)).save(draft, quality=90)
    typer.echo(f"Annotated picture: {file.resolve()}")
    say("These are expressions as annotators would label them, not what a person feels.")


def _free_name() -> Path:
    names = itertools.chain(["mien-demo.jpg"], (f"mien-demo-{n}.jpg" for n in itertools.count(2)))
    return next(path for path in map(Path, names) if not path.exists())
