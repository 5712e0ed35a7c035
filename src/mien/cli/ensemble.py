"""``mien ensemble`` and ``mien soft-labels``: what several trained runs are good for together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.bundles import check_replaceable
from mien.cli.words import check_free, check_head, say, training_wing
from mien.errors import UsageError

Members = Annotated[
    list[Path], typer.Argument(help="Run folders of mien train, or .keras files; two or more of the same chips and labels.")
]
Data = Annotated[Path, typer.Option(help="The members' data set; the validation split of each calibrates it.")]


def ensemble(
    members: Members,
    data: Data,
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
    head: Annotated[
        str, typer.Option(help="emotion (the data's labels) or votes (FER+'s eight, of runs that learned from the votes).")
    ] = "emotion",
    votes: Annotated[Path | None, typer.Option(help="FER+ votes, a CSV; needed for --head votes.")] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Let every member look at the mirror image, too: twice the work a face.")
    ] = False,
    choose: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT", help="Keep only that many of the networks: those of lowest log loss together on the validation split."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name in spec.json.")] = "ensemble",
    release: Annotated[str, typer.Option(help="Version in spec.json.")] = "1.0",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that exists.")] = False,
) -> None:
    """Write one bundle that answers the mean of the members' calibrated probabilities; an ensemble's .keras file stands for its members."""
    with training_wing(networks=True):
        from mien.train.ensemble import calibrated, export_ensemble, load_for, ranked

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


def soft_labels(
    teachers: Annotated[list[Path], typer.Argument(help="Run folders or .keras files of the teachers, one or more.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="File to write, .npz.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write the teachers' mean probabilities of every image, for mien train --soft-labels."""
    with training_wing(networks=True):
        from mien.train.ensemble import calibrated, load_for, write_soft_labels
        from mien.train.ensemble import soft_labels as average

    check_free(out, overwrite)
    loaded = load_for(teachers[0], data)
    values = average(calibrated(teachers, loaded), loaded)
    write_soft_labels(out, values, loaded)
    many = "s" * (len(teachers) > 1)
    say(f"{out}: probabilities of {values.shape[1]} labels for {values.shape[0]} images, from {len(teachers)} teacher{many}")
    right = values.argmax(1) == loaded.labels
    shares = {split: float(right[loaded.rows(split)].mean()) for split in ("train", "public", "val") if len(loaded.rows(split))}
    # Far more on the images that they trained on is knowledge by heart, which the student would learn.
    say("right on " + ", ".join(f"{share:.1%} of {split}" for split, share in shares.items()))
