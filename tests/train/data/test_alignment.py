from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mien.assets import demo_photo
from mien.contract import FER2013_TEMPLATE, InputSpec
from mien.detect import find_detector
from mien.detect.base import Detection
from mien.errors import DataError, UsageError
from mien.train.data.alignment import Aligned, align, loosely_cut, write_aligned
from mien.train.data.dataset import Dataset, load
from tests.train.shapes import SIDE

SPEC = InputSpec("test", "1", channels=3)


def tilted_chip(degrees: float) -> np.ndarray:
    """Return the demo photograph's face as a 48x48 chip, framed loosely and rolled."""
    grey = np.asarray(Image.open(demo_photo()).convert("L"))
    turn = cv2.getRotationMatrix2D((220, 120), degrees, 48 / 200)
    turn[:, 2] += (24 - 220, 24 - 120)
    return np.asarray(cv2.warpAffine(grey, turn, (48, 48), flags=cv2.INTER_AREA), np.uint8)


def distance_px(chip: np.ndarray) -> float:
    """Return how far the five points of a chip lie from the template, on average."""
    frame = np.repeat(cv2.resize(chip, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)[..., None], 3, -1)
    (found, *_) = find_detector().detect(frame)
    return float(np.linalg.norm(np.array(found.landmarks) / 3 - FER2013_TEMPLATE, axis=1).mean())


@pytest.mark.parametrize("degrees", [-12, 0, 12])
def test_a_tilted_face_comes_into_the_templates_place(degrees: float) -> None:
    before = tilted_chip(degrees)
    after = align(np.repeat(before[..., None], 3, -1), find_detector(), SPEC)
    assert after is not None
    assert after.shape == (48, 48, 3)
    assert distance_px(after[..., 0]) < distance_px(before)


class SeesEverySecond:
    """Finds a face, already in place, in every second frame."""

    name = "every second"

    def __init__(self) -> None:
        self.count = 0

    def detect(self, frame_rgb: np.ndarray, min_face: float = 20) -> tuple[Detection, ...]:
        self.count += 1
        scale = len(frame_rgb) / 48
        points = tuple((x * scale, y * scale) for x, y in FER2013_TEMPLATE)
        return (Detection((0.0, 0.0, 40.0, 40.0), 0.9, points),) if self.count % 2 else ()


def test_the_copy_is_the_same_data_set(shapes: Dataset, tmp_path: Path) -> None:
    counts = write_aligned(shapes.root, tmp_path / "aligned", SeesEverySecond(), size=SIDE)
    assert counts == Aligned(len(shapes) // 2, len(shapes) // 2)
    copy = load(tmp_path / "aligned", size=SIDE, cache=tmp_path)
    assert sorted(copy.names) == sorted(shapes.names)
    assert copy.splits.tolist() == shapes.splits.tolist()
    assert np.array_equal(copy.labels, shapes.labels)
    assert np.array_equal(copy.images[1], shapes.images[1])  # no face found: kept as it was


def test_a_csv_becomes_folders(tmp_path: Path) -> None:
    pixels = " ".join(["7"] * 48 * 48)
    lines = ["emotion,pixels,Usage", f"3,{pixels},Training", f"0,{pixels},PublicTest", "6,1 2 3,PrivateTest"]
    file = tmp_path / "fer2013.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    counts = write_aligned(file, tmp_path / "aligned", SeesEverySecond())
    assert (counts.moved, counts.kept, len(counts.unreadable)) == (1, 1, 1)
    assert "line 4" in counts.unreadable[0]
    made = sorted(str(p.relative_to(tmp_path / "aligned")) for p in (tmp_path / "aligned").rglob("*.png"))
    assert made == ["test/angry/PublicTest_1.png", "train/happy/Training_0.png"]


def test_a_face_is_cut_out_of_the_whole_photo(tmp_path: Path) -> None:
    """The face is a tenth of this picture: shrunk to chip size first, it would be five pixels wide."""
    photo = Image.open(demo_photo())
    happy = tmp_path / "photos" / "happy"
    happy.mkdir(parents=True)
    large = Image.new("RGB", (1600, 1200), "grey")
    large.paste(photo, (900, 500))
    large.save(happy / "a.jpg", quality=95)
    photo.save(happy / "a.png")
    (happy / "b.png").write_bytes(b"no picture")
    counts = write_aligned(tmp_path / "photos", tmp_path / "aligned", find_detector())
    assert (counts.moved, counts.kept) == (2, 0)
    assert "b.png" in counts.unreadable[0]
    in_large, alone = (np.asarray(Image.open(tmp_path / "aligned/happy" / name).convert("L")) for name in ("a.jpg.png", "a.png.png"))
    assert in_large.shape == (48, 48)
    assert distance_px(in_large) < 2
    sharp, sharpness = (cv2.Laplacian(face, cv2.CV_32F).std() for face in (alone, in_large))
    assert sharpness > 0.8 * sharp
    assert loosely_cut(tmp_path / "photos", ("happy/a.jpg", "happy/a.png"), find_detector()) == (2, 2)
    assert loosely_cut(tmp_path / "aligned", ("happy/a.jpg.png", "happy/a.png.png"), find_detector()) == (0, 2)


def test_an_existing_folder_is_left_alone(shapes: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists"):
        write_aligned(shapes.root, tmp_path, SeesEverySecond())


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no picture in"):
        write_aligned(tmp_path, tmp_path / "aligned", SeesEverySecond())
