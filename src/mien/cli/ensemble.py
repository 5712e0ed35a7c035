"""``mien ensemble`` and ``mien soft-labels``: combine several trained runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.bundles import check_replaceable
from mien.cli.console import HEADS, check_free, check_head, counted, say, training_wing
from mien.cli.options import HeadVotes, OverwriteBundle
from mien.errors import UsageError

Members = Annotated[
    list[Path], typer.Argument(help="Two or more run folders of mien train, or .keras files, with the same chips and labels.")
]
DATA_HELP = "The members' data set. Each member is calibrated on its own validation split."


def ensemble(
    members: Members,
    out: Annotated[Path, typer.Option(help="Bundle folder to write. With --average-weights: run folder to write.")],
    data: Annotated[Path | None, typer.Option(help=f"{DATA_HELP} Needed unless --average-weights is given.")] = None,
    head: Annotated[
        str, typer.Option(help="emotion (the data's labels) or votes (FER+'s eight labels, for runs trained on the votes).")
    ] = "emotion",
    votes: HeadVotes = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Every member also classifies the mirror image. This doubles the work per face.")
    ] = False,
    choose: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT",
            help="Keep only this number of networks: those whose mean has the lowest log loss on the validation split.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name in spec.json.")] = "ensemble",
    release: Annotated[str, typer.Option(help="Version in spec.json.")] = "1.0",
    average_weights: Annotated[
        bool,
        typer.Option(
            "--average-weights",
            help="Write a run folder instead. Its network has the mean of the members' weights and costs as much as one member. The "
            "members are runs of one network that start alike, such as two endings of one run.",
        ),
    ] = False,
    overwrite: OverwriteBundle = False,
) -> None:
    """Write one bundle that answers the mean of the members' calibrated probabilities. A .keras file of an ensemble adds its members."""
    if average_weights:
        if data or votes or mirror or choose is not None or overwrite or head != HEADS[0]:
            raise UsageError("--average-weights takes run folders and --out alone; mien export then makes a bundle of the new run")
        _average_weights(members, out)
        return
    if data is None:
        raise UsageError("--data DIR is missing: the members are calibrated on the validation images of their data set")
    with training_wing(networks=True):
        from mien.train.export.ensemble import calibrated, export_ensemble, load_for, ranked

    check_head(head)
    check_replaceable(out, overwrite)
    if votes and head != "votes":
        raise UsageError("--votes are for --head votes; the other head is calibrated on the labels")
    loaded = load_for(members[0], data, votes)
    networks = calibrated(members, loaded, head, mirror=mirror)
    if choose is not None:
        groups = ranked(networks, loaded, choose, head=head)
        say(f"log loss and accuracy of every {choose} of {len(networks)} networks on {groups[0].n} validation images; the first is kept:")
        for group in groups:
            say(f"  {group.log_loss:.4f}  {group.accuracy:.2%}  {', '.join(str(one.source) for one in group.members)}")
        networks = list(groups[0].members)
    bundle = export_ensemble(networks, loaded, out, head=head, name=name, version=release, overwrite=overwrite)
    for network in networks:
        say(f"{network.source}: temperature {network.temperature:.3f}")
    say(f"{bundle.folder}: {bundle.spec.name} {bundle.spec.version}, {len(networks)} member{'s' * (len(networks) > 1)}")


def _average_weights(runs: list[Path], out: Path) -> None:
    with training_wing(networks=True):
        from mien.train.loop.weight_average import average_weights

    model = average_weights(runs, out)
    say(f"{model}: the mean of the weights of {counted(len(runs), 'run')}")


def soft_labels(
    teachers: Annotated[list[Path], typer.Argument(help="One or more run folders or .keras files of teachers.")],
    data: Annotated[Path, typer.Option(help=DATA_HELP)],
    out: Annotated[Path, typer.Option(help=".npz file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write the mean of the teachers' probabilities per image, for mien train --soft-labels."""
    with training_wing(networks=True):
        from mien.train.export.ensemble import calibrated, load_for, write_soft_labels
        from mien.train.export.ensemble import soft_labels as average

    check_free(out, overwrite)
    loaded = load_for(teachers[0], data)
    values = average(calibrated(teachers, loaded), loaded)
    write_soft_labels(out, values, loaded)
    many = "s" * (len(teachers) > 1)
    say(f"{out}: probabilities of {values.shape[1]} labels for {values.shape[0]} images, from {len(teachers)} teacher{many}")
    right = values.argmax(1) == loaded.labels
    shares = {split: float(right[loaded.rows(split)].mean()) for split in ("train", "public", "val") if len(loaded.rows(split))}
    # A far higher share on the training images means that the teachers memorised them, and the student would learn that.
    say("right on " + ", ".join(f"{share:.1%} of {split}" for split, share in shares.items()))
