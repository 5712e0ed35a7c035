"""A folder of labelled faces -> arrays that stay on disk.

Two layouts of FER2013 are read (the Kaggle folders ``train/<label>/*.jpg`` and ``test/<label>/*.jpg``, and the original
``fer2013.csv``), and any other folder of classes. Images are decoded once into a uint8 file that later starts map into memory.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.contract import LABELS
from mien.errors import DataError

VOTE_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
# The order of the labels in fer2013.csv's "emotion" column.
CSV_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
CSV_USAGE = {"Training": "train", "PublicTest": "public", "PrivateTest": "private"}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


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
        root: a folder of one of the layouts above, or a ``fer2013.csv``.
        size: side in pixels; other sizes are resized by area (down) or bicubic (up).
        channels: 1 or 3.
        votes: a CSV with a ``file`` column and the ten FER+ columns, matched by path relative to ``root``.
        cache: folder of the decoded copy; by default ``$XDG_CACHE_HOME/mien/datasets``.

    Raises:
        DataError: nothing found, a class without images, or an unreadable file (all are named).
    """
    root = Path(root)
    if root.is_file():
        listing = _list_csv(root)
    elif root.is_dir():
        listing = _list_folder(root)
    else:
        raise DataError(f"no data at {root}: expected a folder with train/<label>/*.jpg, or fer2013.csv")
    images = _decoded(root, listing, size, channels, cache or _cache_dir())
    table = None if votes is None else _read_votes(Path(votes), listing.names)
    return Dataset(
        root=root,
        images=images,
        labels=np.asarray(listing.labels, np.int64),
        splits=np.asarray(listing.splits),
        names=tuple(listing.names),
        label_names=listing.label_names,
        votes=table,
    )


@dataclass
class _Listing:
    names: list[str]
    labels: list[int]
    splits: list[str]
    label_names: tuple[str, ...]
    stamp: str


def _list_folder(root: Path) -> _Listing:
    top = sorted(p.name for p in root.iterdir() if p.is_dir())
    if "train" not in top:
        raise DataError(f"{root} has no 'train' folder; expected {root}/train/<label>/*.jpg, found {', '.join(top) or 'nothing'}")
    found = sorted(p.name for p in (root / "train").iterdir() if p.is_dir())
    if len(found) < 2:
        raise DataError(f"{root}/train needs at least two label folders with images, found {', '.join(found) or 'none'}")
    label_names = LABELS if set(found) == set(LABELS) else tuple(found)
    listing = _Listing([], [], [], label_names, "")
    digest = hashlib.sha256()
    for folder in (name for name in top if name in {"train", "val", "validation", "test"}):
        for label_dir in sorted(p for p in (root / folder).iterdir() if p.is_dir()):
            if label_dir.name not in label_names:
                raise DataError(f"{label_dir} is a label that train/ does not have; known are {', '.join(label_names)}")
            for entry in sorted(os.scandir(label_dir), key=lambda e: e.name):
                if Path(entry.name).suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                stat = entry.stat()
                name = f"{folder}/{label_dir.name}/{entry.name}"
                listing.names.append(name)
                listing.labels.append(label_names.index(label_dir.name))
                listing.splits.append(_split(folder, entry.name))
                digest.update(f"{name}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    train = {label for label, split in zip(listing.labels, listing.splits, strict=True) if split == "train"}
    empty = [name for i, name in enumerate(label_names) if i not in train]
    if empty:
        raise DataError(f"no training image for {', '.join(empty)} in {root}/train")
    listing.stamp = digest.hexdigest()
    return listing


def _split(folder: str, file_name: str) -> str:
    if folder == "test":
        return "public" if file_name.startswith("PublicTest") else "private" if file_name.startswith("PrivateTest") else "test"
    return "val" if folder == "validation" else folder


def _list_csv(path: Path) -> _Listing:
    listing = _Listing([], [], [], LABELS, "")
    for number, row in _csv_rows(path):
        try:
            listing.labels.append(LABELS.index(CSV_LABELS[int(row["emotion"])]))
            listing.splits.append(CSV_USAGE[row["Usage"]])
        except (KeyError, ValueError, IndexError, TypeError):
            raise DataError(f"{path}, line {number}: expected columns emotion (0-6), pixels, Usage, got {dict(list(row.items())[:1])}") from None
        listing.names.append(f"{row['Usage']}_{number - 2}")
    if not listing.names:
        raise DataError(f"{path} has no rows")
    stat = path.stat()
    listing.stamp = hashlib.sha256(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()
    return listing


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as lines:
        yield from enumerate(csv.DictReader(lines), start=2)


def _decoded(root: Path, listing: _Listing, size: int, channels: int, cache: Path) -> NDArray[np.uint8]:
    key = hashlib.sha256(f"{root.resolve()}|{listing.stamp}|{size}|{channels}".encode()).hexdigest()[:20]
    file = cache / f"{key}.npy"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        shape = (len(listing.names), size, size) + ((3,) if channels == 3 else ())
        part = file.with_suffix(f".{os.getpid()}.part")
        try:
            out = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
            bad = _decode_csv(root, out, size) if root.is_file() else _decode_files(root, listing.names, out, size, channels)
            out.flush()
            if bad:
                raise DataError(f"{len(bad)} of {len(listing.names)} images cannot be read, for example {', '.join(bad[:3])}")
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)
    return np.load(file, mmap_mode="r")


def _decode_files(root: Path, names: list[str], out: NDArray[np.uint8], size: int, channels: int) -> list[str]:
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB

    def decode(index: int) -> str | None:
        data = np.fromfile(root / names[index], np.uint8)
        image = cv2.imdecode(data, flag) if data.size else None
        if image is None:
            return names[index]
        out[index] = _resized(image, size)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [name for name in pool.map(decode, range(len(names)), chunksize=256) if name]


def _decode_csv(path: Path, out: NDArray[np.uint8], size: int) -> list[str]:
    bad = []
    for number, row in _csv_rows(path):
        pixels = np.array(row["pixels"].split(), np.uint8)
        if pixels.size != 48 * 48:
            bad.append(f"line {number}")
            continue
        image = _resized(pixels.reshape(48, 48), size)
        out[number - 2] = image if out.ndim == 3 else image[..., None]
    return bad


def _resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (size, size):
        return image
    how = cv2.INTER_AREA if max(image.shape[:2]) > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8)


def _read_votes(path: Path, names: list[str]) -> NDArray[np.float32]:
    if not path.is_file():
        raise DataError(f"no FER+ votes at {path}; expected a CSV with the columns file,{','.join(VOTE_COLUMNS)}")
    index = {name: i for i, name in enumerate(names)}
    votes = np.zeros((len(names), len(VOTE_COLUMNS)), np.float32)
    matched = 0
    for number, row in _csv_rows(path):
        at = index.get(row.get("file", ""))
        if at is None:
            continue
        matched += 1
        try:
            votes[at] = [float(row[column] or 0) for column in VOTE_COLUMNS]
        except (KeyError, ValueError):
            raise DataError(f"{path}, line {number}: expected a number in each of {', '.join(VOTE_COLUMNS)}") from None
    if not matched:
        raise DataError(f"no row of {path} names a file of this data set (expected paths such as {names[0]!r})")
    return votes


def ferplus_targets(votes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (distributions (N, 8), weights (N,)) from FER+ counts (N, 10).

    Single votes are dropped as outliers, ``unknown`` and ``NF`` are left out, and the rest is normalised (Barsoum et al. 2016,
    arXiv:1608.01041). An image with nothing left has weight 0 and a uniform distribution.
    """
    counts = np.where(votes > 1, votes, 0)[:, :8]
    total = counts.sum(1, keepdims=True)
    kept = total[:, 0] > 0
    shares = np.where(total > 0, counts / np.maximum(total, 1), 1 / 8)
    return shares.astype(np.float32), kept.astype(np.float32)


def read_exclusions(path: str | Path) -> set[str]:
    """Return the file names in an exclusion list (a CSV with a ``file`` column, as ``mien audit`` writes)."""
    rows = [row for _, row in _csv_rows(Path(path))]
    if rows and "file" not in rows[0]:
        raise DataError(f"{path} has no 'file' column; found {', '.join(rows[0])}")
    return {row["file"] for row in rows}


def describe(data: Dataset) -> dict[str, Any]:
    """Return counts per split and label, for run folders and ``mien data check``."""
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
