"""``mien ensemble`` and ``mien soft-labels``: what several trained runs are good for together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.words import check_free, say, training_wing

Runs = Annotated[list[Path], typer.Argument(help="Run folders of mien train, two or more of the same chips and labels.")]
Data = Annotated[Path, typer.Option(help="The runs' data set; each run's validation split calibrates it.")]


def ensemble(
    runs: Runs,
    data: Data,
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
    name: Annotated[str, typer.Option(help="Name in spec.json.")] = "ensemble",
    release: Annotated[str, typer.Option(help="Version in spec.json.")] = "1.0",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that exists.")] = False,
) -> None:
    """Write one bundle that answers the mean of the runs' calibrated probabilities."""
    with training_wing(networks=True):
        from mien.train import data as datasets
        from mien.train.ensemble import calibrated, export_ensemble
        from mien.train.export import read_config

    recipe, _ = read_config(runs[0])
    loaded = datasets.load(data, size=recipe.size, channels=recipe.channels)
    members = calibrated(runs, loaded)
    bundle = export_ensemble(members, loaded, out, name=name, version=release, overwrite=overwrite)
    for member in members:
        say(f"{member.run}: temperature {member.temperature:.3f}")
    say(f"{bundle.folder}: {bundle.spec.name} {bundle.spec.version}, {len(members)} members")


def soft_labels(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of the teachers, one or more.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="File to write, .npy.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write the teachers' mean probabilities of every image, for mien train --soft-labels."""
    with training_wing(networks=True):
        import numpy as np

        from mien.train import data as datasets
        from mien.train.ensemble import calibrated
        from mien.train.ensemble import soft_labels as average
        from mien.train.export import read_config

    check_free(out, overwrite)
    recipe, _ = read_config(runs[0])
    loaded = datasets.load(data, size=recipe.size, channels=recipe.channels)
    values = average(calibrated(runs, loaded), loaded)
    with out.open("wb") as file:
        np.save(file, values)
    say(f"{out}: probabilities of {values.shape[1]} labels for {values.shape[0]} images, from {len(runs)} teacher{'s' * (len(runs) > 1)}")
    right = values.argmax(1) == loaded.labels
    shares = {split: float(right[loaded.rows(split)].mean()) for split in ("train", "public", "val") if len(loaded.rows(split))}
    # Far more on the images that they trained on is knowledge by heart, which the student would learn.
    say("right on " + ", ".join(f"{share:.1%} of {split}" for split, share in shares.items()))
