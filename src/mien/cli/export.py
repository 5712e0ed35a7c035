"""``mien export``: a trained run -> a bundle that the runtime opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.words import say, training_wing


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of mien train.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
    data: Annotated[Path, typer.Option(help="The run's data set: training chips check the export, the validation split calibrates it.")],
    name: Annotated[str | None, typer.Option(help="Name in spec.json. Default: the recipe's.")] = None,
    release: Annotated[str, typer.Option(help="Version in spec.json.")] = "1.0",
    target_accuracy: Annotated[float, typer.Option(help="Accuracy wanted on the faces that are not 'uncertain'.")] = 0.8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that exists.")] = False,
) -> None:
    """Write model.onnx and spec.json, compared with their Keras source and calibrated before they get their place."""
    with training_wing():
        from mien.train import data as datasets
        from mien.train.export import export_run, read_config

    recipe, _ = read_config(run)
    loaded = datasets.load(data, size=recipe.size, channels=recipe.channels)
    bundle = export_run(run, loaded, out, name=name, version=release, target_accuracy=target_accuracy, overwrite=overwrite)
    spec = bundle.spec
    say(f"{bundle.folder}: {spec.name} {spec.version}, temperature {spec.temperature:.3f}, uncertain below {spec.uncertain_below:.3f}")
