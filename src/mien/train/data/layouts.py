"""Lists the images of a data folder with their labels, and decodes them.

FER2013 comes as Kaggle's folders (``train/<label>/*.jpg``, ``test/<label>/*.jpg``) or as the original ``fer2013.csv``. Any other
folder of classes is read in the same way, with its own labels.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.contract import FER2013_SIDE, LABELS
from mien.errors import DataError
from mien.results import csv_columns

# The meaning of the numbers in the column "emotion" of fer2013.csv.
CSV_LABELS = {"0": "angry", "1": "disgust", "2": "fear", "3": "happy", "4": "sad", "5": "surprise", "6": "neutral"}
FER2013_CSV = "fer2013.csv"
CSV_USAGE = {"Training": "train", "PublicTest": "public", "PrivateTest": "private"}
FOLDERS = ("train", "val", "validation", "test")
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
PREDICTION_COLUMNS = ("file", "split", "label", "predicted", "correct")  # of predictions.csv, which also has one column per label
WITH_ALPHA = (".png", ".webp")


@dataclass(frozen=True)
class Listing:
    """Every image of a data set: its name, its label index and its split. ``stamp`` changes when a file changes."""

    names: tuple[str, ...]
    labels: tuple[int, ...]
    splits: tuple[str, ...]
    label_names: tuple[str, ...]
    stamp: str

    def untrained_labels(self) -> tuple[str, ...]:
        """Return the labels without a training image."""
        present = {label for label, split in zip(self.labels, self.splits, strict=True) if split == "train"}
        return tuple(name for i, name in enumerate(self.label_names) if i not in present)


def data_in(root: Path) -> Path:
    """Return the ``fer2013.csv`` in the folder ``root`` (FER2013's archive unpacks to one), or ``root`` if there is none.

    A ``train`` folder takes precedence over the CSV.
    """
    if root.is_dir() and not (root / "train").is_dir():
        for file in (root / FER2013_CSV, root / "fer2013" / FER2013_CSV):
            if file.is_file():
                return file
    return root


def list_images(root: Path) -> Listing:
    """Return the images in ``root``, a folder or a ``fer2013.csv``, without opening them.

    Raises:
        DataError: ``root`` does not exist, there is no ``train`` folder, only a test folder has a label, or the CSV has another shape.
    """
    if root.is_file():
        return _list_csv(root)
    if root.is_dir():
        return _list_folder(root)
    raise DataError(f"no data at {root}: expected a folder with train/<label>/*.jpg, or fer2013.csv")


def decode(root: Path, names: tuple[str, ...], out: NDArray[np.uint8]) -> list[str]:
    """Fill ``out``, uint8 (N, side, side) or (N, side, side, 3), with the listed images; return the names that cannot be read."""
    return _decode_csv(root, names, out) if root.is_file() else _decode_files(root, names, out)


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a CSV file with a header. Values missing at the end of a row are ""; spaces after commas are ignored.

    Raises:
        DataError: the file is not such a CSV, or a row is longer than the header.
    """
    with path.open(newline="", encoding="utf-8-sig") as lines:
        try:
            for number, row in enumerate(csv.DictReader(lines, restval="", skipinitialspace=True), start=2):
                if None in row:
                    raise DataError(f"{path}, line {number}: expected {len(row) - 1} values, as the header has, got more")
                yield number, row
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"expected a CSV in UTF-8 with a header, got {path}, which is none ({error})") from None


def folders_in(folder: Path) -> list[str]:
    """Return the sorted names of the folders in ``folder``, without hidden folders, which other programs create."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _list_folder(root: Path) -> Listing:
    top = folders_in(root)
    if "train" not in top:
        raise DataError(f"{root} has no 'train' folder; expected {root}/train/<label>/*.jpg, found {', '.join(top) or _loose(root)}")
    found = folders_in(root / "train")
    if len(found) < 2:
        there = ", ".join(found) or _loose(root / "train")
        raise DataError(f"{root}/train needs at least two label folders with images, found {there}")
    columns = [*csv_columns(found), *PREDICTION_COLUMNS]
    if twice := [label for label in found if columns.count(label) > 1]:
        raise DataError(f"a label cannot be called {twice[0]!r}, like another column of the results; rename that folder")
    label_names = LABELS if set(found) == set(LABELS) else tuple(found)
    rows: list[tuple[str, int, str]] = []
    digest = hashlib.sha256()
    for folder in (name for name in top if name in FOLDERS):
        for label in folders_in(root / folder):
            if label not in label_names:
                raise DataError(f"{root / folder / label} is a label that train/ does not have; known are {', '.join(label_names)}")
            for entry in sorted(os.scandir(root / folder / label), key=lambda e: e.name):
                if Path(entry.name).suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                stat = entry.stat(follow_symlinks=entry.is_file())  # a broken link only has the stat of the link itself
                name = f"{folder}/{label}/{entry.name}"
                rows.append((name, label_names.index(label), _split(folder, entry.name)))
                digest.update(f"{name}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    if not rows:
        raise DataError(f"no image in {root}/train; Mien reads {', '.join(sorted(IMAGE_SUFFIXES))}")
    names, labels, splits = zip(*rows, strict=True)
    return Listing(names, labels, splits, label_names, digest.hexdigest())


def _loose(folder: Path) -> str:
    """Return a description of the contents of a folder that has no folders."""
    images = sum(entry.suffix.lower() in IMAGE_SUFFIXES for entry in folder.iterdir())
    return f"{images} images outside of any folder; put those of each label into one" if images else "nothing"


def _split(folder: str, file_name: str) -> str:
    if folder == "test":
        return "public" if file_name.startswith("PublicTest") else "private" if file_name.startswith("PrivateTest") else "test"
    return "val" if folder == "validation" else folder


def _list_csv(path: Path) -> Listing:
    rows: list[tuple[str, int, str]] = []
    for number, row in csv_rows(path):
        try:
            rows.append((f"{row['Usage']}_{number - 2}", LABELS.index(CSV_LABELS[row["emotion"].strip()]), CSV_USAGE[row["Usage"]]))
        except KeyError:
            got = {key: str(value)[:20] for key, value in row.items()}
            raise DataError(f"{path}, line {number}: expected columns emotion (0-6), pixels, Usage, got {got}") from None
    if not rows:
        raise DataError(f"{path} has no rows; expected the columns emotion, pixels, Usage")
    stat = path.stat()
    names, labels, splits = zip(*rows, strict=True)
    stamp = hashlib.sha256(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()
    return Listing(names, labels, splits, LABELS, stamp)


def _decode_files(root: Path, names: tuple[str, ...], out: NDArray[np.uint8]) -> list[str]:
    flag = cv2.IMREAD_GRAYSCALE if out.ndim == 3 else cv2.IMREAD_COLOR_RGB

    def one(index: int) -> str | None:
        try:
            encoded = np.fromfile(root / names[index], np.uint8)
            image = cv2.imdecode(encoded, flag)
            if image is not None and names[index].lower().endswith(WITH_ALPHA):
                image = _on_white(image, cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED))
        except (OSError, cv2.error):  # no file, an empty file, or more pixels than OpenCV accepts
            image = None
        if image is None:
            return names[index]
        out[index] = resized(image, out.shape[1])
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [name for name in pool.map(one, range(len(names))) if name]


def _on_white(image: NDArray[np.uint8], whole: Any) -> NDArray[np.uint8]:
    """Return ``image`` with its transparent parts on white, as in the runtime. ``whole`` is the picture as stored."""
    if whole is None or whole.ndim < 3 or whole.shape[2] < 4 or whole.shape[:2] != image.shape[:2]:
        return image
    share = whole[..., 3] / np.iinfo(whole.dtype).max
    return np.asarray(np.rint(255 + (image - 255.0) * (share if image.ndim == 2 else share[..., None])), np.uint8)


def _decode_csv(path: Path, names: tuple[str, ...], out: NDArray[np.uint8]) -> list[str]:
    bad = []
    for name, (number, grey) in zip(names, csv_faces(path), strict=True):
        if grey is None:
            bad.append(f"{name} (line {number})")
            continue
        image = resized(grey, out.shape[1])
        out[number - 2] = image if out.ndim == 3 else image[..., None]
    return bad


def csv_faces(path: Path) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Yield (line number, uint8 (48, 48)) of a ``fer2013.csv``; None if the pixels are not 48 times 48 numbers from 0 to 255."""
    for number, row in csv_rows(path):
        try:
            yield number, np.array(row["pixels"].split(), np.uint8).reshape(FER2013_SIDE, FER2013_SIDE)
        except (KeyError, ValueError, OverflowError):
            yield number, None


def resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a picture, (H, W) or (H, W, 3), as a square of side ``size``: by area when it shrinks, bicubic when it grows."""
    if image.shape[:2] == (size, size):
        return image
    how = cv2.INTER_AREA if max(image.shape[:2]) > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8)
