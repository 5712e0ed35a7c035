"""Evaluates labelled folders of whole photos with the whole pipeline: detect, align, classify. The largest face counts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mien.classify import Classifier
from mien.contract import InputSpec
from mien.errors import DataError, MienError
from mien.pipeline import Pipeline
from mien.train.data.dataset import Dataset, read_people
from mien.train.data.splits import Missing, Split, labelled_files

PHOTOS = "photos"  # the name of the split
TITLE = "photos"
MIN_FACES = 90  # per label in the mean recall; with fewer, the 95 % interval is wider than 20 points


def labelled_photos(folder: str | Path, spec: InputSpec, *, threads: int | None = None) -> tuple[Dataset, Split]:
    """Return the aligned chip of the largest face of each photo in ``folder``/<label>/, and their split.

    Photos without a face and files that cannot be read are in ``missing`` of the split.

    Args:
        folder: holds photos of any size, in folders with the names of the model's labels.
        spec: format of the chips, and the labels.
        threads: number of photos that are processed at the same time; None uses every core.

    Raises:
        DataError: see :func:`mien.train.data.splits.labelled_files`; or no photo has a detected face.
    """
    root, names, labels = labelled_files(folder, spec.labels)
    pipeline = Pipeline(classifier=cast("Classifier", _OnlySpec(spec)), threads=threads)

    def chip_of(name: str) -> NDArray[np.uint8] | str:
        try:
            found = pipeline.prepare(root / name)
        except MienError as error:
            return error.code
        return found.chips[0] if found.chips else "no face"

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(chip_of, names))
    rows = [i for i, one in enumerate(found) if not isinstance(one, str)]
    missing = tuple(Missing(names[i], int(labels[i]), one) for i, one in enumerate(found) if isinstance(one, str))
    if not rows:
        raise DataError(f"none of the {len(names)} photos in {root} shows a face, for example {names[0]} ({missing[0].reason})")
    chips = np.stack([cast("NDArray[np.uint8]", found[i]) for i in rows])
    chosen = tuple(names[i] for i in rows)
    data = Dataset(root, chips, labels[rows], np.full(len(rows), PHOTOS), chosen, spec.labels)
    return data, Split(PHOTOS, TITLE, np.arange(len(rows)), labels[rows], spec.labels, missing, MIN_FACES)


@dataclass(frozen=True)
class _OnlySpec:
    """The part of a classifier that a pipeline needs before it classifies."""

    spec: InputSpec


def people_of(names: Sequence[str], file: str | Path) -> NDArray[np.str_]:
    """Return the person in each photo (N,), from a CSV with the columns ``file`` and ``person``.

    Raises:
        DataError: the file does not exist, has other columns, or does not name a photo.
    """
    people = read_people(file)
    if lacking := [name for name in names if name not in people]:
        raise DataError(f"{file} names no person for {len(lacking)} of {len(names)} photos, for example {lacking[0]}")
    return np.array([people[name] for name in names])
