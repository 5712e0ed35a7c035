"""A folder of labelled faces -> arrays that stay on disk.

:mod:`mien.train.data.layouts` lists what a folder contains. This module decodes the images once into a uint8 file, which later starts
map into memory, and adds FER+ votes and exclusion lists.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.atomic import atomic_write
from mien.errors import DataError
from mien.train.data.layouts import WITH_ALPHA, Listing, csv_rows, decode, list_images

VOTE_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
FERPLUS_CLASSES = 8  # the first eight columns; "unknown" and "NF" (no face) are no expressions
# Which of our labels each FER+ column means; FER2013 has no contempt.
VOTE_LABELS = {"neutral": 0, "happy": 1, "surprise": 2, "sad": 3, "angry": 4, "disgust": 5, "fear": 6}


@dataclass(frozen=True)
class Dataset:
    """Labelled faces of equal size.

    ``images`` is uint8, (N, side, side) when grey or (N, side, side, 3) RGB, mapped from disk; ``labels`` int64 (N,) indexes
    ``label_names``; ``splits`` (N,) holds ``train``, ``public``, ``private``, ``val`` or ``test``; ``names`` are paths relative to
    the data folder; ``votes`` float32 (N, 10), the FER+ counts, is None unless they were asked for.
    """

    root: Path
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    names: tuple[str, ...]
    label_names: tuple[str, ...]
    votes: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, *splits: str) -> NDArray[np.int64]:
        """Return the indices of the images in any of ``splits``, in file order."""
        return np.flatnonzero(np.isin(self.splits, splits))

    @property
    def is_fer2013(self) -> bool:
        """Whether it has FER2013's own test splits."""
        return bool(len(self.rows("public", "private")))

    def exclude(self, names: set[str]) -> Dataset:
        """Return the data set with the named files moved to the split ``excluded``."""
        unknown = names - set(self.names)
        if unknown:
            raise DataError(f"{len(unknown)} excluded files are not in {self.root}, for example {sorted(unknown)[0]!r}")
        hit = np.isin(np.asarray(self.names), sorted(names))
        return replace(self, splits=np.where(hit, "excluded", self.splits))


def load(root: str | Path, *, size: int = 48, channels: int = 1, votes: str | Path | None = None, cache: Path | None = None) -> Dataset:
    """Return the data set in ``root``, decoding it on the first call only.

    Args:
        root: a folder of one of the layouts in :mod:`mien.train.data.layouts`, or a ``fer2013.csv``.
        size: side in pixels; other sizes are resized by area (down) or bicubic (up).
        channels: 1 or 3.
        votes: a CSV with a ``file`` column and the ten FER+ columns, matched by path relative to ``root``.
        cache: folder of the decoded copy; by default ``$XDG_CACHE_HOME/mien/datasets``.

    Raises:
        DataError: nothing found, a class without images, or an unreadable file (some are named).
    """
    root = Path(root)
    listing = list_images(root)
    if empty := listing.untrained_labels():
        raise DataError(f"no training image for {', '.join(empty)} in {root}; 'mien data check {root}' says what is there")
    return Dataset(
        root=root,
        images=_decoded(root, listing, size, channels, cache or _cache_dir()),
        labels=np.asarray(listing.labels, np.int64),
        splits=np.asarray(listing.splits),
        names=listing.names,
        label_names=listing.label_names,
        votes=None if votes is None else _read_votes(Path(votes), listing.names),
    )


def _decoded(root: Path, listing: Listing, size: int, channels: int, cache: Path) -> NDArray[np.uint8]:
    how = (
        "|on white" if any(name.lower().endswith(WITH_ALPHA) for name in listing.names) else ""
    )  # not what a cache of older versions holds
    key = hashlib.sha256(f"{root.resolve()}|{listing.stamp}|{size}|{channels}{how}".encode()).hexdigest()[:20]
    file = cache / f"{key}.npy"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        shape = (len(listing.names), size, size) + ((3,) if channels == 3 else ())
        with atomic_write(file, ending=f".{os.getpid()}.part") as draft:  # several processes may decode one data set
            out = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=shape)
            bad = decode(root, listing.names, out)
            out.flush()
            if bad:
                raise DataError(
                    f"{len(bad)} of {len(listing.names)} images cannot be read, for example {', '.join(bad[:3])}; "
                    f"'mien data check {root}' names them all"
                )
    images: NDArray[np.uint8] = np.load(file, mmap_mode="r")
    return images


def _read_votes(path: Path, names: tuple[str, ...]) -> NDArray[np.float32]:
    if not path.is_file():
        raise DataError(f"no FER+ votes at {path}; expected a CSV with the columns file,{','.join(VOTE_COLUMNS)}")
    index = {name: i for i, name in enumerate(names)}
    votes = np.zeros((len(names), len(VOTE_COLUMNS)), np.float32)
    matched = 0
    for number, row in csv_rows(path):
        at = index.get(row.get("file") or f"{row.get('Usage')}_{number - 2}")  # the release of FER+ has fer2013.csv's rows, in its order
        if at is None:
            continue
        matched += 1
        try:
            votes[at] = [_count(row[column]) for column in VOTE_COLUMNS]
        except (KeyError, ValueError):
            raise DataError(f"{path}, line {number}: expected a number of votes in each of {', '.join(VOTE_COLUMNS)}") from None
    if not matched:
        raise DataError(f"no row of {path} names a file of this data set (expected paths such as {names[0]!r})")
    return votes


def _count(text: str) -> float:
    count = float(text or 0)
    if not 0 <= count < math.inf:
        raise ValueError(text)
    return count


def ferplus_targets(votes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (distributions (N, 8), weights (N,)) from FER+ counts (N, 10).

    Single votes are dropped as outliers, ``unknown`` and ``NF`` are left out, and the rest is normalised (Barsoum et al. 2016,
    arXiv:1608.01041). An image with nothing left has weight 0 and a uniform distribution.
    """
    return _shares(np.where(votes > 1, votes, 0)[:, :FERPLUS_CLASSES])


def label_targets(votes: NDArray[np.float32], label_names: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (distributions (N, labels), weights (N,)) over our own labels from FER+ counts (N, 10); contempt drops out.

    Raises:
        DataError: a label that FER+ has no column for.
    """
    if foreign := [name for name in label_names if name not in VOTE_LABELS]:
        raise DataError(
            f"FER+ votes cannot teach the label {foreign[0]!r}; they know {', '.join(VOTE_LABELS)}. Set loss.targets to 'labels'"
        )
    return _shares(np.where(votes > 1, votes, 0)[:, [VOTE_LABELS[name] for name in label_names]])


def _shares(counts: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    total = counts.sum(1, keepdims=True)
    shares = np.where(total > 0, counts / np.maximum(total, 1), 1 / counts.shape[1])
    return shares.astype(np.float32), (total[:, 0] > 0).astype(np.float32)


def read_exclusions(path: str | Path) -> set[str]:
    """Return the file names in an exclusion list (a CSV with a ``file`` column, as ``mien audit`` writes)."""
    if not Path(path).is_file():
        raise DataError(f"no exclusion list at {path}; expected a CSV with a 'file' column")
    rows = [row for _, row in csv_rows(Path(path))]
    if rows and "file" not in rows[0]:
        raise DataError(f"{path} has no 'file' column; found {', '.join(rows[0])}")
    return {row["file"] for row in rows}


def read_people(path: str | Path) -> dict[str, str]:
    """Return file -> person from a CSV with the columns ``file`` and ``person``.

    Raises:
        DataError: no such file, or other columns.
    """
    if not Path(path).is_file():
        raise DataError(f"no people at {path}; expected a CSV with the columns file,person")
    rows = [row for _, row in csv_rows(Path(path))]
    if not rows or not {"file", "person"} <= set(rows[0]):
        raise DataError(f"{path} needs the columns file,person; found {', '.join(rows[0]) if rows else 'no rows'}")
    return {row["file"]: row["person"] for row in rows}


def describe(data: Dataset) -> dict[str, Any]:
    """Return counts per split and label, for run folders and reports."""
    return {
        split: {name: int(((data.splits == split) & (data.labels == i)).sum()) for i, name in enumerate(data.label_names)}
        for split in sorted(set(data.splits.tolist()))
    }


def fingerprint(data: Dataset) -> str:
    """Return a short hash of names, labels and splits: two runs with the same value saw the same list."""
    text = json.dumps([data.names, data.labels.tolist(), data.splits.tolist()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mien" / "datasets"
