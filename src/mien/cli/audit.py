"""``mien audit``: find errors in a data set."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.atomic import atomic_write
from mien.cli.console import say, show, training_wing
from mien.cli.options import TrainingData
from mien.errors import UsageError

SUMMARY, REPORT = "audit.json", "audit.html"


def audit(
    data: TrainingData,
    report: Annotated[Path, typer.Option(help="Folder for findings.csv, exclude.csv, audit.json and audit.html.")],
    faces: Annotated[bool, typer.Option("--faces/--no-faces", help="Look for pictures without a face.")] = True,
    folds: Annotated[int, typer.Option(help="Number of models to train to find doubtful labels, for example 4. 0 skips this search.")] = 0,
    recipe: Annotated[str, typer.Option(help="Recipe of these models. They learn from the labels only.")] = "nano",
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs of each of these models.")] = 12,
    votes: Annotated[
        Path | None, typer.Option(help="CSV file with the FER+ votes. Shows whether FER+'s raters doubt the same labels. Needs --folds.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an audit that exists.")] = False,
) -> None:
    """Find copies, leaks from test to training, conflicting labels, near copies, pictures without a face, and doubtful labels."""
    with training_wing():
        from mien.train.data import audit as search
        from mien.train.data import dataset as datasets
        from mien.train.report.audit import audit_html

    if (report / SUMMARY).exists() and not overwrite:
        raise UsageError(f"{report} holds an audit; add --overwrite to replace it, or choose another folder")
    if votes and not folds:
        raise UsageError("--votes judges doubtful labels, and without --folds none are looked for; add --folds 4")
    detectors = search.face_detectors() if faces else []
    loaded = datasets.load(data, votes=votes)
    began = time.perf_counter()
    groups = search.copies(loaded)
    findings = [*search.copy_findings(loaded, groups), *search.blanks(loaded)]
    say("near copies ...")
    findings += search.near_copies(loaded)
    if detectors:
        say("faces ...")
        findings += search.faceless(loaded, detectors)
    if folds:
        with training_wing(networks=True):
            from mien.train.loop.folds import labels_only, out_of_fold

        chosen = labels_only(recipe, epochs)
        chips = datasets.load(data, size=chosen.size, channels=chosen.channels)
        p = out_of_fold(chips, chosen, folds, report / "folds", on_epoch=_tell_time(folds, epochs))
        findings += search.doubtful_labels(loaded, p)
    counts = {**search.summary(loaded, groups, findings), "seconds": round(time.perf_counter() - began, 1)}
    if votes:
        counts["crowd_disagrees"] = search.crowd_disagrees(loaded, findings)
    report.mkdir(parents=True, exist_ok=True)
    with atomic_write(report / SUMMARY) as draft:
        draft.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    _, exclusions = search.write_findings(loaded, findings, report)
    with atomic_write(report / REPORT) as draft:
        draft.write_text(audit_html(loaded, counts, findings), encoding="utf-8")
    _print(counts)
    say(f"report: {(report / REPORT).resolve()}\nexclusion list for --exclude: {exclusions.resolve()}")


def _tell_time(folds: int, epochs: int) -> Callable[[int, dict[str, Any]], None]:
    """Return a function that prints, after each epoch, the progress and an estimate of the remaining time."""
    began, done = time.perf_counter(), 0

    def tell(fold: int, row: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        left = folds * epochs - fold * epochs - row["epoch"]
        minutes = (time.perf_counter() - began) / done * left / 60
        say(
            f"doubtful labels: model {fold + 1} of {folds}, epoch {row['epoch']} of {epochs}, "
            f"{100 * row['val_accuracy']:.1f} % right on what it did not see, about {minutes:.0f} min left"
        )

    return tell


def _print(counts: dict[str, object]) -> None:
    from rich.table import Table

    table = Table(show_edge=False, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    for key, value in counts.items():
        if isinstance(value, dict):
            for name, count in value.items():
                shown = f"{100 * count['share']:.1f} % of {count['images']:,}" if isinstance(count, dict) else str(count)
                table.add_row(f"{key.replace('_', ' ')}: {name}", shown)
        else:
            table.add_row(key.replace("_", " "), str(value))
    show(table)
