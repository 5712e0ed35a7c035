"""Writes an aligned copy of a data set: it cuts faces out of photos, or moves crops so that eyes and mouths lie at the same places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.align import chip
from mien.contract import FER2013_SIDE, InputSpec, template_for
from mien.detect.base import Detector
from mien.errors import DataError, MediaError, UsageError
from mien.media.images import read_photo
from mien.train.data.layouts import IMAGE_SUFFIXES, csv_faces, data_in, list_images, resized

SEARCHED_SIDE = 3 * FER2013_SIDE  # a detector needs a face that is larger than a chip
TEST_FOLDER = {"public": "test", "private": "test"}
LOOKED_AT = 24
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Aligned:
    """Result of :func:`write_aligned`.

    ``moved`` counts aligned faces. ``kept`` counts pictures without a detected face, which are written whole. ``unreadable`` names the
    files that cannot be read.
    """

    moved: int
    kept: int
    unreadable: tuple[str, ...] = ()


def write_aligned(
    root: Path, out: Path, detector: Detector, *, size: int = FER2013_SIDE, on_picture: Callable[[int, int], None] | None = None
) -> Aligned:
    """Write the largest face of every picture to ``out``/.../<label>/*.png, moved so that its five points meet the template.

    The detector gets each picture as it is, a whole photo or a crop. A crop that is too small for it is enlarged first.

    Args:
        root: a folder of one of the layouts in :mod:`mien.train.data.layouts`, a folder of <label>/*.jpg, or a ``fer2013.csv``.
        out: folder to make.
        detector: finds the five points.
        size: side of the chips in pixels.
        on_picture: called after each picture with (pictures done, number of pictures).

    Raises:
        UsageError: ``out`` exists.
        DataError: no picture in ``root``.
    """
    if out.exists():
        raise UsageError(f"{out} exists; name a new folder for the aligned copy")
    spec = InputSpec("aligned", "1", chip_size=size, channels=3, template=template_for(size))
    root = data_in(root)
    files, pictures = _of_csv(root) if root.is_file() else _of_folder(root)
    moved, unreadable = 0, []
    for done, (file, picture) in enumerate(zip(files, pictures, strict=True), 1):
        if isinstance(picture, MediaError):
            unreadable.append(str(picture))
        else:
            face = align(picture, detector, spec)
            moved += face is not None
            target = out / file
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, resized(picture, size) if face is None else face)
        if on_picture:
            on_picture(done, len(files))
    return Aligned(moved, len(files) - moved - len(unreadable), tuple(unreadable))


def align(picture: Picture, detector: Detector, spec: InputSpec) -> Picture | None:
    """Return the largest face of a picture, uint8 (H, W, 3), as a chip (S, S, 3) in the template's framing; None where there is none."""
    enlarge = SEARCHED_SIDE / min(picture.shape[:2])
    if enlarge > 1:
        picture = np.asarray(cv2.resize(picture, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC), np.uint8)
    found = detector.detect(picture)
    return chip(picture, found[0].landmarks, spec) if found else None


def loosely_cut(root: Path, names: Sequence[str], detector: Detector) -> tuple[int, int]:
    """Return (number of pictures whose largest face fills less than half of the width, number of pictures examined), for up to 24 files.

    In FER2013, a face fills four fifths of the width. Pictures smaller than twice FER2013's size count as cut tightly.
    """
    loose = 0
    looked_at = names[:: max(1, len(names) // LOOKED_AT)][:LOOKED_AT]
    for picture in _photos(root, looked_at):
        if isinstance(picture, MediaError) or min(picture.shape[:2]) < 2 * FER2013_SIDE:
            continue
        if found := detector.detect(picture):
            x0, _, x1, _ = found[0].box_xyxy
            loose += 2 * (x1 - x0) < picture.shape[1]
    return loose, len(looked_at)


def _of_csv(file: Path) -> tuple[list[str], Iterator[Picture | MediaError]]:
    listing = list_images(file)
    folders = [TEST_FOLDER.get(split, split) for split in listing.splits]
    rows = zip(folders, listing.labels, listing.names, strict=True)
    return [f"{folder}/{listing.label_names[label]}/{name}.png" for folder, label, name in rows], _rgb_faces(file)


def _rgb_faces(file: Path) -> Iterator[Picture | MediaError]:
    for number, grey in csv_faces(file):
        yield MediaError(f"{file}, line {number}") if grey is None else np.repeat(grey[..., None], 3, -1)


def _of_folder(root: Path) -> tuple[list[str], Iterator[Picture | MediaError]]:
    if (root / "train").is_dir() or not root.is_dir():
        names = list_images(root).names
    else:
        names = tuple(str(p.relative_to(root)) for p in sorted(root.glob("*/*")) if p.suffix.lower() in IMAGE_SUFFIXES)
    if not names:
        raise DataError(f"no picture in {root}; expected {root}/train/<label>/*.jpg, or {root}/<label>/*.jpg")
    plain = [PurePath(name).with_suffix(".png").as_posix() for name in names]
    twice = {name for name, count in Counter(plain).items() if count > 1}  # a.jpg beside a.png
    return [f"{name}.png" if short in twice else short for name, short in zip(names, plain, strict=True)], _photos(root, names)


def _photos(root: Path, names: Sequence[str]) -> Iterator[Picture | MediaError]:
    for name in names:
        try:
            yield read_photo(root / name).frame_rgb
        except MediaError as error:
            yield error


def _write(file: Path, picture: Picture) -> None:
    grey = (picture == picture[..., :1]).all()
    _, data = cv2.imencode(".png", picture[..., 0] if grey else picture[..., ::-1])
    file.write_bytes(data.tobytes())
