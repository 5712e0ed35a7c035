"""``mien audit``: what is wrong with a data set."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mien.cli.words import say, training_wing
from mien.errors import UsageError

SUMMARY, REPORT = "audit.json", "audit.html"


def audit(
    data: Annotated[Path, typer.Option(help="Folder with train/<label>/*.jpg, or fer2013.csv.")],
    report: Annotated[Path, typer.Option(help="Folder for findings.csv, exclude.csv, audit.json and audit.html.")],
    faces: Annotated[bool, typer.Option("--faces/--no-faces", help="Look for pictures without a face.")] = True,
    folds: Annotated[int, typer.Option(help="Train this many models to find doubtful labels; 0 leaves that out. Takes hours.")] = 0,
    recipe: Annotated[str, typer.Option(help="Recipe of those models.")] = "nano",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an audit that exists.")] = False,
) -> None:
    """Find copies, leaks from test to training, conflicting labels, near copies, pictures without a face, and doubtful labels."""
    with training_wing():
        from mien.train import audit as search
        from mien.train import data as datasets
        from mien.train.audit_report import audit_html

    if (report / SUMMARY).exists() and not overwrite:
        raise UsageError(f"{report} holds an audit; add --overwrite to replace it, or choose another folder")
    detectors = search.face_detectors() if faces else []
    loaded = datasets.load(data)
    began = time.perf_counter()
    groups = search.copies(loaded)
    findings = [*search.copy_findings(loaded, groups), *search.blanks(loaded)]
    say("near copies ...")
    findings += search.near_copies(loaded)
    if detectors:
        say("faces ...")
        findings += search.faceless(loaded, detectors)
    if folds:
        with training_wing():
            from mien.train.folds import out_of_fold
            from mien.train.recipe import Recipe

        chosen = Recipe.load(recipe)
        chips = datasets.load(data, size=chosen.size, channels=chosen.channels)
        p = out_of_fold(chips, chosen, folds, report / "folds", on_fold=lambda n: say(f"doubtful labels: {n} of {folds} models trained"))
        findings += search.doubtful_labels(loaded, p)
    counts = {**search.summary(loaded, groups, findings), "seconds": round(time.perf_counter() - began, 1)}
    report.mkdir(parents=True, exist_ok=True)
    (report / SUMMARY).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    _, exclusions = search.write_findings(loaded, findings, report)
    (report / REPORT).write_text(audit_html(loaded, counts, findings), encoding="utf-8")
    _print(counts)
    say(f"report: {(report / REPORT).resolve()}\nexclusion list for --exclude: {exclusions.resolve()}")


def _print(counts: dict[str, object]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    for key, value in counts.items():
        if isinstance(value, dict):
            for name, count in value.items():
                table.add_row(f"{key.replace('_', ' ')}: {name}", str(count))
        else:
            table.add_row(key.replace("_", " "), str(value))
    Console(file=sys.stdout).print(table)
