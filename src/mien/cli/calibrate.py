"""``mien calibrate``: temperature and 'uncertain' threshold of a bundle, fitted on PublicTest, on photos, or on both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import training_wing
from mien.cli.evaluate import load_splits
from mien.cli.options import FacesData
from mien.errors import UsageError

CHOOSING = ("public", "ferplus-public", "ferplus7-public", "val")  # splits that choose; the others are reported


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder whose spec.json is to be rewritten.")],
    data: FacesData = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="public, ferplus-public, ferplus7-public, val, or a folder of face crops, <label>/*.jpg: images that no figure is "
            "reported on. Default: public; of a model that FER+'s raters taught, ferplus7-public or ferplus-public; val in data other "
            "than FER2013."
        ),
    ] = None,
    votes: Annotated[Path | None, typer.Option(help="FER+ votes, a CSV; needed for ferplus-public and ferplus7-public.")] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of whole photos, <label>/*.jpg, that calibrate too; --target-accuracy is then theirs.")
    ] = None,
    target_accuracy: Annotated[
        float | None, typer.Option(help="Accuracy wanted on the faces that are not 'uncertain'. Default: 0.8, or the best that can be had.")
    ] = None,
) -> None:
    """Fit the temperature and the threshold behind 'uncertain', and store both in the bundle's spec.json."""
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
