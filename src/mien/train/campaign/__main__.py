"""``python -m mien.train.campaign``: continue a campaign for some minutes and print its progress."""

from __future__ import annotations

import functools
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mien.errors import MienError


def main(
    campaign: Annotated[Path, typer.Argument(help="Campaign file, TOML.")],
    data: Annotated[Path, typer.Option(help="Folder with train/<label>/*.jpg, or fer2013.csv.")],
    out: Annotated[Path, typer.Option(help="The campaign's folder; an existing one is continued.")],
    votes: Annotated[Path | None, typer.Option(help="FER+ votes, a CSV.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Time for this call; 0 only shows the table.")] = 9,
    skip_unfinished: Annotated[
        bool, typer.Option("--skip-unfinished", help="Leave out unfinished members and teach the students.")
    ] = False,
    pack: Annotated[Path | None, typer.Option(help="Folder for the small results, in parts of 15 MiB.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Also show PrivateTest; do this once, at the end.")] = False,
) -> None:
    """Train the nets of a campaign on one accelerator, over several calls."""
    began = time.monotonic()
    os.environ["KERAS_BACKEND"] = "jax"
    import jax

    from mien.train.campaign.pack import pack as pack_results
    from mien.train.campaign.plan import Campaign
    from mien.train.campaign.run import Piece, advance, results
    from mien.train.data.dataset import Dataset, load
    from mien.train.recipe import Recipe

    out.mkdir(parents=True, exist_ok=True)
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(out / ".xla"))  # two seeds of one recipe share the compiled code
    say = Console(stderr=True, highlight=False, soft_wrap=True).print
    opened = functools.lru_cache(maxsize=2)(
        lambda size, channels: load(data, size=size, channels=channels, votes=votes, cache=out / ".cache")
    )

    def open_data(recipe: Recipe) -> Dataset:
        found: Dataset = opened(recipe.size, recipe.channels)
        return found

    def on_epoch(recipe: Recipe, row: dict[str, Any]) -> None:
        left = minutes - (time.monotonic() - began) / 60
        say(
            f"{recipe.name} {row['epoch']}/{recipe.epochs}  loss {row['loss']:.3f}  accuracy {row['accuracy']:.4f}  "
            f"validation {row['val_accuracy']:.4f}  {row['seconds']:.1f} s  {left:.1f} min left"
        )

    piece = Piece(Campaign.load(campaign), open_data, out, began + 60 * minutes, on_epoch)
    try:
        if minutes:
            done = advance(piece, skip_unfinished=skip_unfinished)
            say("all nets are finished" if done else "not finished; the same command goes on")
    finally:  # finished results are packed even if other nets failed
        for part in pack_results(piece.campaign, out, pack) if pack else ():
            say(f"{part}: {part.stat().st_size / 2**20:.1f} MiB")
        Console(width=None if sys.stdout.isatty() else 140).print(_table(results(piece, report=report)))


def _table(rows: list[dict[str, Any]]) -> Table:
    columns = [name for name in ("public", "private", "clean", "ferplus") if any(name in row for row in rows)]
    table = Table("net", "role", "parameters", "epochs", "seconds", *(f"{name} % (95 %)" for name in columns))
    for row in rows:
        figures = [row.get(name) for name in columns]
        shown = ["" if f is None else f"{100 * f['value']:.2f} ({100 * f['low']:.2f}-{100 * f['high']:.2f})" for f in figures]
        role = f"{row['role']}: {row['error']}" if "error" in row else row["role"]
        plain = [str(row.get(name, "")) for name in ("parameters", "epochs", "seconds")]
        table.add_row(row["name"], role, *plain, *shown)
    return table


if __name__ == "__main__":
    try:
        typer.run(main)
    except MienError as error:
        sys.exit(f"mien: {error}")
