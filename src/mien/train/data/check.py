"""Reports the contents and the problems of a data folder, for ``mien data check``."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.contract import FER2013_SIDE, LABELS
from mien.train.data.layouts import Listing, data_in, decode, list_images

# Images per label (in the order of LABELS) in each split of FER2013 as published.
FER2013_COUNTS = {
    "train": (3995, 436, 4097, 7215, 4965, 4830, 3171),
    "public": (467, 56, 496, 895, 607, 653, 415),
    "private": (491, 55, 528, 879, 626, 594, 416),
    "test": (958, 111, 1024, 1774, 1233, 1247, 831),  # Kaggle's folders, when file names do not separate PublicTest and PrivateTest
}
FER2013_PREFIXES = ("Training_", "PublicTest_", "PrivateTest_")  # start of the file names
FER2013_TOLERANCE = 0.1  # share of the training images; a copy with other file names may lack that many and still counts as FER2013
HOW_TO_GET_FER2013 = """\
FER2013 cannot be shipped with Mien. To get it from Kaggle:
  1. make an account at kaggle.com and create an API token (Settings > API), saved as ~/.kaggle/kaggle.json
  2. pip install kaggle
  3. kaggle datasets download msambare/fer2013 --unzip --path fer2013
  4. mien data check fer2013
The original fer2013.csv (the competition 'challenges-in-representation-learning-facial-expression-recognition-challenge',
whose rules you accept on its page) is read too: mien data check fer2013.csv"""


@dataclass(frozen=True)
class DataReport:
    """``counts`` holds images per split and label; ``problems`` and ``notes`` are sentences. Solve the problems before training."""

    label_names: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check(root: str | Path) -> DataReport:
    """Return what is in ``root`` (a folder or ``fer2013.csv``), reading every image once.

    It finds labels without a training image, counts that differ from FER2013's, unreadable files (it names all of them), and test images
    whose pixels equal those of a training image.

    Raises:
        DataError: ``root`` cannot be listed.
    """
    root = data_in(Path(root))
    listing = list_images(root)
    images = np.empty((len(listing.names), FER2013_SIDE, FER2013_SIDE), np.uint8)
    bad = decode(root, listing.names, images)
    tally = Counter(zip(listing.splits, listing.labels, strict=True))
    counts = {split: tuple(tally[split, i] for i in range(len(listing.label_names))) for split in dict.fromkeys(listing.splits)}
    problems = [f"no training image for {name!r}" for name in listing.untrained_labels()]
    problems += _missing_labels(listing.label_names)
    problems += [f"cannot be read: {name}" for name in bad]
    is_fer2013 = listing.label_names == LABELS and _is_fer2013(root, listing)
    differences = _differences(counts) if is_fer2013 else []
    leaks = _leaks(listing, images, set(bad))
    notes = [] if is_fer2013 else [_foreign(listing.label_names)]
    notes += [f"copies of training images in {split!r}: {n}; 'mien audit' lists them" for split, n in leaks.items()]
    if is_fer2013 and not differences and not bad:
        notes.append("complete: every count is FER2013's own")
    return DataReport(listing.label_names, counts, tuple(problems + differences), tuple(notes))


def _is_fer2013(root: Path, listing: Listing) -> bool:
    """Return True for FER2013's labels with FER2013's file names, or with about as many training images."""
    if root.is_file():
        return True
    named = sum(Path(name).name.startswith(FER2013_PREFIXES) for name in listing.names)
    expected = sum(FER2013_COUNTS["train"])
    return 2 * named > len(listing.names) or abs(listing.splits.count("train") - expected) < FER2013_TOLERANCE * expected


def _foreign(label_names: tuple[str, ...]) -> str:
    if label_names == LABELS:
        return f"FER2013's labels, but other images: no file name begins with {FER2013_PREFIXES[0]}, so the counts are not compared"
    return f"not FER2013: trains with its own labels, {', '.join(label_names)}"


def _missing_labels(found: tuple[str, ...]) -> list[str]:
    common = set(found) & set(LABELS)
    if len(common) < 4 or len(common) == len(LABELS):
        return []  # another data set, or nothing missing
    return [f"FER2013's label {name!r} has no folder in train/" for name in LABELS if name not in common]


def _differences(counts: dict[str, tuple[int, ...]]) -> list[str]:
    return [
        f"{split}/{name}: FER2013 has {expected}, found {found}"
        for split, row in counts.items()
        if split in FER2013_COUNTS
        for name, expected, found in zip(LABELS, FER2013_COUNTS[split], row, strict=True)
        if expected != found
    ]


def _leaks(listing: Listing, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], bad: set[str]) -> dict[str, int]:
    prints = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    rows = [row for row in zip(listing.names, listing.splits, prints, strict=True) if row[0] not in bad]
    trained = {mark for _, split, mark in rows if split == "train"}
    return dict(Counter(split for _, split, mark in rows if split != "train" and mark in trained))
