"""Loads a folder of labelled faces as arrays that stay on disk.

:mod:`mien.train.data.layouts` lists the contents of a folder. This module decodes the images once into a uint8 file; later runs map that
file into memory. It also adds FER+ votes and exclusion lists.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.atomic import atomic_write
from mien.errors import DataError, MienWarning
from mien.train.data.layouts import CSV_USAGE, WITH_ALPHA, Listing, csv_rows, data_in, decode, list_images

VOTE_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
FERPLUS_CLASSES = 8  # the first eight columns; "unknown" and "NF" (no face) are not expressions
# The label of ours that each FER+ column stands for. FER2013 has no contempt.
VOTE_LABELS = {"neutral": 0, "happy": 1, "surprise": 2, "sad": 3, "angry": 4, "disgust": 5, "fear": 6}


@dataclass(frozen=True)
class Dataset:
    """Labelled faces of equal size.

    ``images`` is uint8, (N, side, side) for grey or (N, side, side, 3) for RGB, mapped from disk. ``labels``, int64 (N,), are indices
    into ``label_names``. ``splits`` (N,) holds ``train``, ``public``, ``private``, ``val`` or ``test``. ``names`` are paths relative to
    the data folder. ``votes``, float32 (N, 10), are the FER+ counts, or None unless the caller asked for them.
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
        """Whether the data set has FER2013's test splits."""
        return bool(len(self.rows("public", "private")))

    def exclude(self, names: set[str]) -> Dataset:
        """Return the data set with the named files moved to the split ``excluded``."""
        unknown = names - set(self.names)
        if unknown:
            raise DataError(f"{len(unknown)} excluded files are not in {self.root}, for example {sorted(unknown)[0]!r}")
        hit = np.isin(np.asarray(self.names), sorted(names))
        return replace(self, splits=np.where(hit, "excluded", self.splits))


def load(root: str | Path, *, size: int = 48, channels: int = 1, votes: str | Path | None = None, cache: Path | None = None) -> Dataset:
    """Return the data set in ``root``. Only the first call decodes the images.

    Args:
        root: a folder of one of the layouts in :mod:`mien.train.data.layouts`, a ``fer2013.csv``, or a folder that holds one.
        size: side in pixels; images of other sizes are resized, by area (down) or bicubic (up).
        channels: 1 or 3.
        votes: a CSV with a ``file`` column (paths relative to ``root``) and the ten FER+ columns; or, for a ``fer2013.csv``, the FER+
            release as it is. If it does not cover all images, a :class:`mien.errors.MienWarning` says how many it covers.
        cache: folder for the decoded copy; by default ``$XDG_CACHE_HOME/mien/datasets``.

    Raises:
        DataError: no images were found, a class has no images, or files cannot be read (it names some).
    """
    root = data_in(Path(root))
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
    )  # so that the cache of an older version, which lacks this step, is not used
    key = hashlib.sha256(f"{root.resolve()}|{listing.stamp}|{size}|{channels}{how}".encode()).hexdigest()[:20]
    file = cache / f"{key}.npy"
    if not file.is_file():
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"expected to keep the decoded images in {cache}, which the system refuses ({error.strerror or error}); "
                "set XDG_CACHE_HOME to a folder that can be written"
            ) from None
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
    rows = list(csv_rows(path))
    by_path = bool(rows) and "file" in rows[0][1]
    index = {name: i for i, name in enumerate(names)}
    votes = np.zeros((len(names), len(VOTE_COLUMNS)), np.float32)
    seen: dict[str, int] = {}
    for (number, row), name in zip(rows, (row["file"] for _, row in rows) if by_path else _official_names(path, rows, names), strict=True):
        at = index.get(name)
        if at is None:
            continue
        if name in seen:
            raise DataError(f"{path}, lines {seen[name]} and {number}: both are the votes for {name}; leave one out")
        seen[name] = number
        try:
            votes[at] = [_count(row[column]) for column in VOTE_COLUMNS]
        except (KeyError, ValueError):
            raise DataError(f"{path}, line {number}: expected a number of votes in each of {', '.join(VOTE_COLUMNS)}") from None
    if not seen:
        raise DataError(f"no row of {path} names a file of this data set (expected paths such as {names[0]!r})")
    if (voted := int(votes.any(1).sum())) < len(names):
        rest = f"the other {len(names) - voted:,} have none"
        warnings.warn(f"{path} has votes for {voted:,} of {len(names):,} images; {rest}", MienWarning, stacklevel=3)
    return votes


def _official_names(path: Path, rows: list[tuple[int, dict[str, str]]], names: tuple[str, ...]) -> Iterator[str]:
    """Check each row of the FER+ release, and yield the data set's name of the same row.

    The release (Barsoum et al. 2016, ``fer2013new.csv``) has the rows of fer2013.csv in the same order. The number in ``Image name`` cannot
    join the two files: it does not count some of the rows without a name, so it becomes smaller than the row number. It only shows
    whether a row is missing, added or moved.

    Raises:
        DataError: a column is missing, the data set is not a ``fer2013.csv``, or the rows do not fit its rows.
    """
    found = rows[0][1] if rows else {}
    if missing := [column for column in ("Usage", "Image name") if column not in found]:
        raise DataError(f"{path} has no column 'file', and as the FER+ release it has no column {missing[0]!r}; add one of them")
    if not names[0].startswith(tuple(CSV_USAGE)):
        raise DataError(f"{path} has no column 'file': the FER+ release fits fer2013.csv, not a folder; give that file as the data")
    if len(rows) != len(names):
        raise DataError(
            f"expected {len(names):,} rows in {path}, one a row of the data in its order, got {len(rows):,}; use the FER+ release as it is"
        )
    last, unnamed = -1, 0
    for (number, row), name in zip(rows, names, strict=True):
        if not name.startswith(f"{row['Usage']}_"):
            raise DataError(f"{path}, line {number}: expected Usage as in {name}, got {row['Usage']!r}; use the FER+ release as it is")
        if image := row["Image name"].strip():
            count = "".join(filter(str.isdigit, image))
            if not count or not last < int(count) <= last + 1 + unnamed:
                raise DataError(
                    f"{path}, line {number}: {image} cannot stand in this row, so rows are missing or moved; use the FER+ release as it is"
                )
            last, unnamed = int(count), 0
        else:
            unnamed += 1
        yield name


def _count(text: str) -> float:
    count = float(text or 0)
    if not 0 <= count < math.inf:
        raise ValueError(text)
    return count


def ferplus_targets(votes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (distributions (N, 8), weights (N,)) from FER+ counts (N, 10).

    Single votes are dropped as outliers. ``unknown`` and ``NF`` are left out. The rest is normalised (Barsoum et al. 2016,
    arXiv:1608.01041). An image without a remaining vote has weight 0 and a uniform distribution.
    """
    return _shares(np.where(votes > 1, votes, 0)[:, :FERPLUS_CLASSES])


def label_targets(votes: NDArray[np.float32], label_names: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (distributions (N, labels), weights (N,)) over our own labels from FER+ counts (N, 10), without contempt.

    Raises:
        DataError: FER+ has no column for one of the labels.
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
        DataError: the file does not exist or has other columns.
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
    """Return a short hash of names, labels and splits. Two runs with the same value used the same list of images."""
    text = json.dumps([data.names, data.labels.tolist(), data.splits.tolist()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mien" / "datasets"
