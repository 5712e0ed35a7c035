"""Selects the faces to evaluate: the splits of FER2013, the clean and FER+ views of PrivateTest, and any folder of classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError, UsageError
from mien.train.data.dataset import VOTE_COLUMNS, VOTE_LABELS, Dataset
from mien.train.data.layouts import IMAGE_SUFFIXES, decode, folders_in

FOLDER = "folder"  # the split of all images of labelled_folder
CONTEMPT = "contempt"  # the FER+ label that FER2013 lacks
FERPLUS_NAMES = (*sorted(VOTE_LABELS, key=lambda label: VOTE_LABELS[label]), CONTEMPT)
FERPLUS_VIEWS = {"ferplus": "private", "ferplus-public": "public"}
SEVEN_VIEWS = {"ferplus7": "private", "ferplus7-public": "public"}  # the FER+ views without the faces that most raters call contempt
VIEWS = FERPLUS_VIEWS | SEVEN_VIEWS


@dataclass(frozen=True)
class Missing:
    """A labelled picture without an answer: its file, the index of its label, and the reason (``no face`` or an error code)."""

    file: str
    label: int
    reason: str


@dataclass(frozen=True)
class Split:
    """Faces to evaluate: ``rows`` (M,) of the data set and their ``labels`` (M,), indices into ``label_names``.

    ``missing`` are pictures of the split without a detected face. Each counts as a wrong answer. A label with fewer than
    ``min_faces`` faces is left out of the mean recall.
    """

    name: str
    title: str
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    missing: tuple[Missing, ...] = ()
    min_faces: int = 1

    def __len__(self) -> int:
        return len(self.rows)


TITLES = {
    "private": "PrivateTest",
    "public": "PublicTest (chose epoch and temperature)",
    "test": "test (PublicTest and PrivateTest)",
    "clean": "PrivateTest without copies of training images",
    "ferplus": "PrivateTest with FER+ majority labels",
    "ferplus-public": "PublicTest with FER+ majority labels (chose epoch and temperature)",
    "ferplus7": "PrivateTest with FER+ majority labels, seven of them",
    "ferplus7-public": "PublicTest with FER+ majority labels, seven of them (chose epoch and temperature)",
    "train": "training images",
    "val": "validation images (may have chosen epoch and temperature)",
    FOLDER: "the folder's images",
}
PUBLISHED = tuple(name for name in TITLES if name != FOLDER)  # the names that --split accepts
ALL = ("private", "clean", "ferplus7", "ferplus", "public", "test")
ALL_OF_PEOPLE = ("ferplus7", "ferplus", "private", "clean", "ferplus7-public", "public", "test")  # for a model that answers what people see
OTHERS = ("test", "val")  # for a data set that is not FER2013


def asked(data: Dataset, split: str | None, label_names: Sequence[str], labelled_by: str = "") -> tuple[str, ...]:
    """Return the names of the splits that ``--split`` selects for a model of ``label_names``.

    None selects the reported images: PrivateTest, or ``test`` in other data sets. ``all`` selects every view of FER2013's test images
    (the FER+ views only if votes are loaded). In other data sets it selects ``test`` and ``val``, as far as they exist. A model of FER+'s
    eight labels is measured on FER2013 under these labels, in :data:`VIEWS`. ``labelled_by`` is a field of the model's
    :class:`mien.contract.InputSpec`; the views of the labels that the model answers come first.
    """
    if not data.is_fer2013:
        views: tuple[str, ...] = OTHERS
    elif speaks_ferplus(data, label_names):
        views = ("ferplus", "ferplus7", "ferplus-public")
    else:
        views = ALL_OF_PEOPLE if labelled_by == "ferplus" and data.votes is not None else ALL
    if split == "all":
        there = {
            **dict.fromkeys(VIEWS, data.votes is not None),
            "test": len(data.rows("public", "private", "test")),
            "val": len(data.rows("val")),
        }
        return tuple(name for name in views if there.get(name, True)) or views
    return (views[0] if split is None else split,)


def default_validation(data: Dataset) -> str:
    """Return the split that chooses the epoch by default: ``public``, else ``val``, else ``holdout``, which is a tenth of ``train``."""
    return next((name for name in ("public", "val") if len(data.rows(name))), "holdout")


def split_rows(data: Dataset, validation: str | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (training rows, validation rows). Neither contains images of the splits that are only reported.

    For ``holdout``, the validation rows are a tenth of ``train``, chosen by the seed, and all images with the same pixels as one of them.

    Raises:
        DataError: the split may not choose epochs, or one side has no images.
    """
    train = data.rows("train")
    validation = validation or default_validation(data)
    if validation not in {"public", "val", "holdout"}:
        raise DataError(
            f"expected 'public', 'val' or 'holdout' to choose epochs on, got {validation!r}; test images are kept for the final report"
        )
    if validation == "holdout":
        order = np.random.default_rng(seed).permutation(train)
        cut = max(1, len(order) // 10)
        train, rows = _copies_together(data.images, order[cut:], order[:cut])
    else:
        rows = data.rows(validation)
    if not len(train) or not len(rows):
        raise DataError(f"{data.root} has {len(train)} training and {len(rows)} {validation!r} images; both are needed")
    return train, rows


def _copies_together(
    images: NDArray[np.uint8], train: NDArray[np.int64], held: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return both sides in file order. Copies of ``held`` images go to the held side, because the network would memorise them."""
    pixels = {images[row].tobytes() for row in held}
    copies = np.array([images[row].tobytes() in pixels for row in train], bool)
    return np.sort(train[~copies]), np.sort(np.concatenate([held, train[copies]]))


def choosing(data: Dataset, label_names: Sequence[str], labelled_by: str = "") -> str:
    """Return the split on which temperature and threshold of a model of ``label_names`` are fitted: PublicTest, or ``val`` without it.

    Raises:
        DataError: the data set has neither.
    """
    if speaks_ferplus(data, label_names) and data.is_fer2013:
        return "ferplus-public"
    if labelled_by == "ferplus" and data.is_fer2013:
        return "ferplus7-public"
    if (split := default_validation(data)) != "holdout":
        return split
    raise DataError(
        f"{data.root} has no images to calibrate on, neither PublicTest nor val/; expected a folder val/<label>/*.jpg beside train/, or "
        "--split with a folder of your own"
    )


def select(data: Dataset, name: str, label_names: Sequence[str]) -> Split:
    """Return one split. Its labels have the order of the model's ``label_names``.

    ``private``, ``public``, ``train`` and ``val`` are as published. ``test`` joins all test images. ``clean`` is PrivateTest without
    the images whose pixels equal those of a training image. ``ferplus`` is PrivateTest, and ``ferplus-public`` is PublicTest, with the
    labels of :func:`ferplus_majority`. These two have :data:`CONTEMPT` as their last label if the model lacks it. ``ferplus7`` and
    ``ferplus7-public`` leave out the faces of that label.

    Raises:
        DataError: the split is unknown or empty, its labels are not the model's, or FER+ votes are needed and not loaded.
    """
    if name not in TITLES:
        raise DataError(f"unknown split {name!r}; expected one of {', '.join(PUBLISHED)}, all, or a folder of classes")
    if speaks_ferplus(data, label_names) and data.is_fer2013:
        if name not in VIEWS:
            raise DataError(f"the model answers FER+'s labels, contempt among them; measure it with --split {' or '.join(VIEWS)}")
    else:
        check_labels(data.label_names, label_names)
    picks: dict[str, Callable[[], NDArray[np.int64]]] = {
        "test": lambda: data.rows("public", "private", "test"),
        "clean": lambda: _without_copies(data, data.rows("private"), data.rows("train")),
        **{view: partial(data.rows, split) for view, split in VIEWS.items()},
    }
    rows = picks.get(name, lambda: data.rows(name))()
    if not len(rows):
        raise DataError(f"{data.root} has no image in the split {name!r}; it has {', '.join(sorted(set(data.splits.tolist())))}")
    if name in VIEWS:
        return ferplus_split(data, name, rows, tuple(label_names), seven=name in SEVEN_VIEWS)
    order = np.array([list(label_names).index(label) for label in data.label_names])
    title = "test images" if name == "test" and not data.is_fer2013 else TITLES[name]
    return Split(name, title, rows, order[data.labels[rows]], tuple(label_names))


def speaks_ferplus(data: Dataset, label_names: Sequence[str]) -> bool:
    """Return whether a model of ``label_names`` answers FER+'s labels while ``data`` lacks contempt."""
    return set(label_names) == set(FERPLUS_NAMES) and CONTEMPT not in data.label_names


def check_labels(found: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise a DataError that names the labels if a data set and a model do not have the same ones. Their order may differ."""
    missing, foreign = [x for x in wanted if x not in found], [x for x in found if x not in wanted]
    if missing or foreign:
        parts = [f"the data lacks {', '.join(missing)}"] * bool(missing) + [f"the model does not know {', '.join(foreign)}"] * bool(foreign)
        raise DataError(f"data and model have different labels: {'; '.join(parts)}")


def ferplus_majority(votes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the FER+ label of each face, an index into :data:`FERPLUS_NAMES`, or -1 if raters did not agree on an emotion.

    This is the filter of Barsoum et al. 2016 (arXiv:1608.01041). Single votes are dropped. One of the eight emotions must then hold more
    than half of the remaining votes; "unknown" and "no face" count among these votes. On FER2013, this keeps 25,057 training, 3,199
    PublicTest and 3,152 PrivateTest images. The usual counts are 25,060, 3,199 and 3,153, because they leave the "no face" votes out of
    the sum. One more image then has a majority. Three images that all ten raters called "no face" pass as "neutral", because zero of
    zero votes does not drop them.

    Args:
        votes: counts (N, 10) in the order of :data:`mien.train.data.dataset.VOTE_COLUMNS`.
    """
    counts = np.where(votes > 1, votes, 0)
    best = counts.argmax(1)
    agreed = (counts.max(1) > counts.sum(1) / 2) & (best < len(FERPLUS_NAMES))
    return np.where(agreed, best, -1)


def labelled_folder(folder: str | Path, label_names: Sequence[str], *, size: int, channels: int) -> Dataset:
    """Return ``folder``/<label>/*.jpg as a data set of one split, :data:`FOLDER`. The images must be face crops like FER2013's.

    Folder names match labels without regard to case. Labels without a folder have no face in the split.

    Raises:
        DataError: see :func:`labelled_files`; or images cannot be read (it names five).
    """
    root, names, labels = labelled_files(folder, label_names)
    images = np.empty((len(names), size, size) + ((3,) if channels == 3 else ()), np.uint8)
    if bad := decode(root, names, images):
        raise DataError(f"{len(bad)} of {len(names)} images cannot be read: {', '.join(bad[:5])}")
    return Dataset(root, images, labels, np.full(len(names), FOLDER), names, tuple(label_names))


def labelled_files(folder: str | Path, label_names: Sequence[str]) -> tuple[Path, tuple[str, ...], NDArray[np.int64]]:
    """Return (the folder, the images in ``folder``/<label>/ as paths relative to it, the index of each one's label).

    Raises:
        DataError: ``folder`` is not a folder, a folder in it is not a label of the model, or there is no image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"no folder at {root}; expected {root}/<label>/*.jpg, or a split: {', '.join(PUBLISHED)}, all")
    folders = folders_in(root)
    alike = {label.casefold(): label for label in label_names}
    meant = {name: name if name in label_names else alike.get(name.casefold()) for name in folders}
    if foreign := [name for name, label in meant.items() if label is None]:
        raise DataError(
            f"the model does not know {', '.join(foreign)}; expected folders in {root} named after its labels, {', '.join(label_names)}"
        )
    files = [(name, file) for name in folders for file in sorted((root / name).iterdir()) if file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise DataError(
            f"no image in {root}/<label>/; the labels are {', '.join(label_names)}, Mien reads {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    names = tuple(f"{name}/{file.name}" for name, file in files)
    return root, names, np.array([list(label_names).index(str(meant[name])) for name, _ in files], np.int64)


def pixel_keys(images: NDArray[np.uint8]) -> NDArray[np.void]:
    """Return one comparable key per image (N,). Equal keys mean equal pixels."""
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    return flat.view(np.dtype((np.void, flat.shape[1]))).ravel()


def _without_copies(data: Dataset, rows: NDArray[np.int64], train: NDArray[np.int64]) -> NDArray[np.int64]:
    seen = {key.tobytes() for key in pixel_keys(data.images[train])}
    return rows[[key.tobytes() not in seen for key in pixel_keys(data.images[rows])]]


def ferplus_split(data: Dataset, name: str, rows: NDArray[np.int64], label_names: tuple[str, ...], *, seven: bool = False) -> Split:
    """Return the ``rows`` whose raters agreed as a split called ``name``, with the labels of :func:`ferplus_majority`.

    With ``seven``, faces that most raters call contempt are left out, and the split has the seven other labels.

    Raises:
        DataError: no votes are loaded, they agree on no row, or ``label_names`` are neither FER+'s labels nor these without contempt.
    """
    if data.votes is None:
        raise DataError(f"the split {name!r} needs the FER+ votes: add --votes FILE, a CSV with the columns file,{','.join(VOTE_COLUMNS)}")
    names = label_names if CONTEMPT in label_names else (*label_names, CONTEMPT)
    check_labels(names, FERPLUS_NAMES)
    majority = ferplus_majority(data.votes[rows])
    if not (majority >= 0).any():
        raise DataError(f"the FER+ votes agree on none of the {len(rows)} images of the split {name!r}")
    if seven:
        majority = np.where(majority == FERPLUS_NAMES.index(CONTEMPT), -1, majority)
        names = tuple(label for label in names if label != CONTEMPT)
    rows, majority = rows[majority >= 0], majority[majority >= 0]
    return Split(name, TITLES[name], rows, np.array([names.index(FERPLUS_NAMES[i]) for i in majority], np.int64), names)


def asked_of(head: str, data: Dataset) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the labels of a head, and the right label of each image (N,): an index, or -1 if FER+'s raters did not agree.

    Raises:
        UsageError: the head answers FER+'s labels, and ``data`` has no votes.
    """
    if head != "votes":
        return data.label_names, data.labels
    if data.votes is None:
        raise UsageError("the head that answers FER+'s labels is calibrated on FER+'s votes; add --votes FILE")
    return FERPLUS_NAMES, ferplus_majority(data.votes)


def decided(rows: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the validation ``rows`` whose image has a label.

    Raises:
        UsageError: no image has a label.
    """
    if len(rows) and not (truth[rows] >= 0).any():
        raise UsageError(f"the FER+ votes agree on none of the {len(rows)} validation images, which are to calibrate the head")
    return rows[truth[rows] >= 0]
