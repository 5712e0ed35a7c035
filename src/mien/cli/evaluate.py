"""``mien evaluate``: measure a model on labelled faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.bundles import CARD_FILE, METRICS_FILE
from mien.cli.console import say, show, training_wing
from mien.cli.options import Exclude, FacesData, SplitVotes, Threads
from mien.errors import UsageError

if TYPE_CHECKING:
    from mien.contract import InputSpec
    from mien.train.data.dataset import Dataset
    from mien.train.data.splits import Split

REPORT = "report.html"
UNLESS_SAID = "Default: private; ferplus7 or ferplus for a model trained on FER+'s labels; test for data other than FER2013."


def evaluate(
    data: FacesData = None,
    model: Annotated[str, typer.Option(help="A shipped model's name, a bundle folder, or a run folder.")] = "default",
    split: Annotated[
        str | None,
        typer.Option(
            help="private, public, test, clean, ferplus, ferplus-public, ferplus7, ferplus7-public, train, val, all, or a folder of face "
            "crops, <label>/*.jpg. " + UNLESS_SAID
        ),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Folder of whole photos, <label>/*.jpg. Mien classifies the largest face; a photo without a face is a wrong answer."
        ),
    ] = None,
    keras: Annotated[bool, typer.Option("--keras", help="Evaluate the Keras source of a run instead of the shipped file.")] = False,
    votes: SplitVotes = None,
    exclude: Exclude = None,
    groups: Annotated[
        Path | None, typer.Option(help="CSV with a column 'file' and one column per grouping. Adds figures per group.")
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also measure the accuracy on blurred, dark, turned, ... pictures.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Folder for metrics.json, predictions, card.md and report.html.")] = None,
    into_bundle: Annotated[bool, typer.Option("--into-bundle", help="Also store metrics.json and card.md in the model's bundle.")] = False,
    threads: Threads = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that exists.")] = False,
) -> None:
    """Run a model on labelled faces and print its figures. Each accuracy has its 95 % interval."""
    with training_wing():
        from mien.train.evaluation.evaluate import Evaluation, find_bundle, joined, open_model, write_metrics, write_predictions
        from mien.train.evaluation.evaluate import evaluate as measure
        from mien.train.evaluation.groups import names_any, read_groups
        from mien.train.evaluation.photos import labelled_photos
        from mien.train.evaluation.robustness import robustness as measure_robustness
        from mien.train.report.card import card
        from mien.train.report.evaluation import evaluation_html

    if into_bundle and keras:
        raise UsageError("--into-bundle stores the figures of the shipped file; leave out --keras")
    bundle = find_bundle(model).folder if into_bundle else None
    if not data and not split and photos and (votes or exclude):
        raise UsageError("--votes and --exclude are about the images of --data DIR; add it, or leave them out")
    if report and (report / METRICS_FILE).exists() and not overwrite:
        raise UsageError(f"{report} holds a report; add --overwrite to replace it, or choose another folder")
    judged = open_model(model, keras=keras, threads=threads)
    sets: list[tuple[Dataset, list[Split]]] = []
    if photos:
        whole, found = labelled_photos(photos, judged.spec, threads=threads)
        sets.append((whole, [found]))
        say_without_answer(found)
    if data or split or not photos:
        sets.append(load_splits(judged.spec, data, split, votes, exclude))
    if judged.spec.labelled_by == "ferplus" and data and not votes and split in (None, "private", "public", "all"):
        say("note: this model answers what people see, and these are FER2013's own labels; --votes FILE measures it under FER+'s")
    results: list[Evaluation] = []
    named = [[*faces.names, *(one.file for split in chosen for one in split.missing)] for faces, chosen in sets]
    for (faces, chosen), names in zip(sets, named, strict=True):
        others = any(names is not own and names_any(groups, own) for own in named) if groups else False
        grouping = read_groups(groups, names) if groups and (names_any(groups, names) or not others) else None
        results.append(measure(judged, faces, chosen, grouping))
    (loaded, _), result = sets[0], results[0]  # printed in full; of the others, only the figures
    for other in results[1:]:
        result.metrics.update(joined(result, other))
    if robustness:
        crops, views = sets[-1]
        say(f"robustness on {views[0].title} ...")
        result.metrics["robustness"] = measure_robustness(judged, crops, views[0])
    print_table(result.metrics)
    if report:
        report.mkdir(parents=True, exist_ok=True)
        write_metrics(result, report / METRICS_FILE)
        write_predictions(result, loaded, report)
        (report / CARD_FILE).write_text(card(result.metrics), encoding="utf-8")
        (report / REPORT).write_text(evaluation_html(result, loaded), encoding="utf-8")
        say(f"report: {(report / REPORT).resolve()}")
    if bundle:
        write_metrics(result, bundle / METRICS_FILE)
        (bundle / CARD_FILE).write_text(card(result.metrics), encoding="utf-8")
        say(f"metrics and card: {bundle}")


def load_splits(
    spec: InputSpec, data: Path | None, split: str | None, votes: Path | None = None, exclude: Path | None = None, *, choose: bool = False
) -> tuple[Dataset, list[Split]]:
    """Return the data set at a model's input size, and the splits that ``--split`` names.

    Without ``--split``, these are the images for reported figures or, with ``choose``, those for calibration.
    """
    from mien.train.data import dataset as datasets
    from mien.train.data import splits

    if split is not None and split not in (*splits.PUBLISHED, "all"):
        folder = splits.labelled_folder(split, spec.labels, size=spec.chip_size, channels=spec.channels)
        _say_if_photos(folder)
        return folder, [splits.select(folder, splits.FOLDER, spec.labels)]
    if data is None:
        raise UsageError("expected --data DIR, a folder with train/ and test/ or fer2013.csv; only --split FOLDER does without")
    loaded = datasets.load(data, size=spec.chip_size, channels=spec.channels, votes=votes)
    if exclude:
        loaded = loaded.exclude(datasets.read_exclusions(exclude))
    if split is None and choose:
        split = splits.choosing(loaded, spec.labels, spec.labelled_by)
    return loaded, [splits.select(loaded, name, spec.labels) for name in splits.asked(loaded, split, spec.labels, spec.labelled_by)]


def say_without_answer(split: Split) -> None:
    """List on stderr the photos that count as wrong because no face was found in them."""
    for one in split.missing:
        say(f"counted as wrong: {one.file} ({one.reason})")


def _say_if_photos(folder: Dataset) -> None:
    from mien.detect import find_detector
    from mien.train.data.alignment import loosely_cut

    loose, looked_at = loosely_cut(folder.root, folder.names, find_detector())
    if loose:
        say(
            f"note: in {loose} of {looked_at} pictures looked at, the face fills less than half of the width, and a folder's pictures "
            f"are taken as faces already cut out. If they are photos: mien evaluate --photos {folder.root}"
        )


def print_table(metrics: dict[str, Any]) -> None:
    """Print one row per split to stdout."""
    from rich.table import Table

    table = Table(show_edge=False, title=f"{metrics['model']['name']} {metrics['model']['version']}", title_style="")
    table.add_column("faces of")
    for column in ("n", "accuracy (95 %)", "mean recall", "macro-F1", "top 2", "log loss", "ECE", "answered", "accuracy then"):
        table.add_column(column, justify="right")
    for s in metrics["splits"].values():
        a, kept = s["accuracy"], s["kept"]
        table.add_row(
            s["title"],
            str(s["n"]),
            f"{a['value']:.2%} ({a['low']:.2%} to {a['high']:.2%})",
            f"{s['mean_recall']['value']:.2%} of {len(s['mean_recall']['labels'])}",
            *("-" if s[key] is None else f"{s[key]:.4f}" for key in ("macro_f1", "top2", "log_loss", "ece")),
            f"{kept['coverage']:.1%}",
            f"{kept['accuracy']['value']:.2%}" if kept["accuracy"] else "-",
        )
    show(table)
    size = metrics["model"].get("size", {})
    parts = [f"{size['parameters'] / 1e6:.2f} M parameters, {size['mmac']:.0f} MMAC a face"] if "mmac" in size else []
    parts += [f"{size['bytes'] / 1e6:.2f} MB"] if size else []
    say(", ".join((*parts, f"{metrics['ms_a_face']:.2f} ms per face", f"{metrics['seconds']:.1f} s in total")))
