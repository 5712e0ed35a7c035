"""``mien train``: a recipe and a data set -> a run folder."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.console import fail, say, training_wing
from mien.cli.options import Exclude, TrainingData
from mien.errors import UsageError


def train(
    data: TrainingData,
    run: Annotated[Path, typer.Option(help="Run folder to write.")],
    recipe: Annotated[str, typer.Option(help="Name of a shipped recipe, or a .toml file.")] = "compact",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe. Repeatable.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Short for --set epochs=N.")] = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set seed=N.")] = None,
    validation: Annotated[
        str | None, typer.Option(help="Split that decides which epoch is best: public, val or holdout. Default: the first one that exists.")
    ] = None,
    votes: Annotated[Path | None, typer.Option(help="CSV file with the FER+ votes.")] = None,
    exclude: Exclude = None,
    soft_labels: Annotated[Path | None, typer.Option(help="File of mien soft-labels. Its probabilities replace the labels.")] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="Run folder or .keras file of a teacher whose predictions replace the labels of each batch. Repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder from its last complete epoch.")] = False,
    devices: Annotated[int, typer.Option(min=1, help="Devices that share each batch (JAX backend).")] = 1,
) -> None:
    """Train a network. Its state is saved after every epoch, so you can stop a run at any moment and continue it with --resume."""
    with training_wing(networks=True):
        from rich.console import Console
        from rich.progress import Progress

        from mien.train.data import dataset as datasets
        from mien.train.export.ensemble import read_soft_labels, teacher_of
        from mien.train.loop.fit import fit
        from mien.train.loop.memory import keep_freed_memory
        from mien.train.loop.run_folder import is_run
        from mien.train.recipe import Recipe

    keep_freed_memory()
    overrides = parse_settings(settings or [])
    overrides |= {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    chosen = Recipe.load(recipe, **overrides)
    loaded = datasets.load(data, size=chosen.size, channels=chosen.channels, votes=votes)
    if exclude:
        loaded = loaded.exclude(datasets.read_exclusions(exclude))
    if resume and not is_run(run):
        say(f"no run in {run} yet; this one starts at its first epoch")
    soft = read_soft_labels(soft_labels, loaded) if soft_labels else None
    network = teacher_of(teacher, loaded, chosen.precision) if teacher else None
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("")

        def on_step(epoch: int, step: int, steps: int) -> None:
            progress.update(bar, description=f"epoch {epoch + 1}/{chosen.epochs}", completed=step, total=steps)

        def on_epoch(row: dict[str, Any]) -> None:
            progress.console.print(epoch_line(row, chosen.epochs), highlight=False, soft_wrap=True)

        try:
            state = fit(
                chosen,
                loaded,
                run,
                validation=validation,
                resume=resume,
                soft=soft,
                teacher=network,
                devices=devices,
                on_epoch=on_epoch,
                on_step=on_step,
            )
        except KeyboardInterrupt:
            fail(f"stopped; complete epochs are kept in {run}, and --resume goes on after the last", status=130)
    best = state.best_row
    if best:
        say(f"{run}: best epoch {best['epoch']}, validation accuracy {best['val_accuracy']:.4f}; the network is in {run / 'model.keras'}")


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """Return one row of the history as a line of text.

    >>> row = {"epoch": 3, "loss": 1.5, "accuracy": 0.4, "val_loss": 1.25, "val_accuracy": 0.5, "learning_rate": 0.1, "seconds": 70.2}
    >>> epoch_line(row, epochs=48)
    'epoch  3/48  loss 1.500  accuracy 0.4000  validation loss 1.250  accuracy 0.5000  learning rate 0.1  70 s'
    """
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['loss']:.3f}  accuracy {row['accuracy']:.4f}  "
        f"validation loss {row['val_loss']:.3f}  accuracy {row['val_accuracy']:.4f}  "
        f"learning rate {row['learning_rate']:.3g}  {row['seconds']:.0f} s"
    )


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Return dotted key -> value from ``KEY=VALUE`` texts. A value that is not TOML is taken as plain text.

    >>> parse_settings(["optimizer.learning_rate=0.05", "model.family=wide", "model.options.widths=[16, 32]"])
    {'optimizer.learning_rate': 0.05, 'model.family': 'wide', 'model.options.widths': [16, 32]}

    Raises:
        UsageError: a text has no key or no ``=``.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set expects KEY=VALUE, for example --set optimizer.learning_rate=0.05; got {setting!r}")
        try:
            values[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text
    return values
