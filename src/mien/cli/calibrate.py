"""``mien calibrate``: fit the temperature and the 'uncertain' threshold of a bundle on PublicTest, on photos, or on both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import training_wing
from mien.cli.evaluate import load_splits, say_without_answer
from mien.cli.options import FacesData
from mien.errors import UsageError

CHOOSING = ("public", "ferplus-public", "ferplus7-public", "val")  # splits for choices; the others are for reported figures


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder. Its spec.json is rewritten.")],
    data: FacesData = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="public, ferplus-public, ferplus7-public, val, or a folder of face crops, <label>/*.jpg. Use images that no figure is "
            "reported on. Default: public. For a model trained on FER+'s labels: ferplus7-public or ferplus-public. For data other than "
            "FER2013: val."
        ),
    ] = None,
    votes: Annotated[Path | None, typer.Option(help="CSV file with the FER+ votes. Needed for ferplus-public and ferplus7-public.")] = None,
    photos: Annotated[
        Path | None,
        typer.Option(help="Folder of whole photos, <label>/*.jpg, to calibrate on too. --target-accuracy then applies to them."),
    ] = None,
    target_accuracy: Annotated[
        float | None,
        typer.Option(help="Target accuracy on the faces that are not 'uncertain'. Default: 0.8, or the best possible; with photos 0.9."),
    ] = None,
) -> None:
    """Fit the temperature and the confidence threshold for 'uncertain', and store both in the bundle's spec.json."""
    with training_wing():
        import numpy as np

        from mien.bundles import open_bundle, weights_dir
        from mien.classify import Classifier, softmax
        from mien.train.data.splits import PUBLISHED
        from mien.train.evaluation import metrics
        from mien.train.evaluation.calibrate import calibrated, calibrated_on_photos, write_spec
        from mien.train.evaluation.photos import labelled_photos

    if split in (*PUBLISHED, "all") and split not in CHOOSING:
        raise UsageError(
            f"calibration must not see the images that are reported; expected --split {', '.join(CHOOSING)} or a folder of your own, "
            f"got {split!r}"
        )
    opened = open_bundle(bundle)
    if opened.folder.resolve().parent == weights_dir().resolve():
        raise UsageError(f"{opened.folder} lies in the package; calibrate a copy: mien export {opened.folder.name} --out FOLDER")
    if target_accuracy is not None and not 0 < target_accuracy < 1:
        raise UsageError(f"expected a --target-accuracy between 0 and 1, got {target_accuracy:g}")
    spec, classifier = opened.spec, Classifier(opened)
    sets = [load_splits(spec, data, split, votes, choose=True)] if data or split or not photos else []
    sets += [(whole, [found]) for whole, found in [labelled_photos(photos, spec)]] if photos else []
    for _, (faces,) in sets:
        say_without_answer(faces)
    answers = [(classifier.logits(np.asarray(loaded.images[faces.rows])), faces.labels) for loaded, (faces,) in sets]
    if photos:
        new = calibrated_on_photos(spec, answers[:-1], answers[-1], target_accuracy)
    else:
        new = calibrated(spec, *answers[0], target_accuracy)
    (_, (faces,)), (logits, _) = sets[-1], answers[-1]
    write_spec(opened, new)
    before, after = (softmax(logits, s.temperature) for s in (spec, new))
    kept = metrics.selective_accuracy(after, faces.labels, new.uncertain_below)
    typer.echo(f"temperature      {spec.temperature:.4f} -> {new.temperature:.4f}")
    typer.echo(f"uncertain below  {spec.uncertain_below:.4f} -> {new.uncertain_below:.4f}")
    typer.echo(f"ECE on {faces.name}    {metrics.ece(before, faces.labels):.4f} -> {metrics.ece(after, faces.labels):.4f}")
    typer.echo(f"answered on {faces.name}: {kept['coverage']:.1%}, of which {kept['accuracy']['value']:.2%} rightly")
