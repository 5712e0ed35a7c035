from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from mien.contract import LABELS
from mien.errors import DataError
from mien.train.data import check as checking
from mien.train.data.check import check
from tests.train.shapes import write_shapes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_shapes(tmp_path / "data", train=3, public=2, private=1)


def test_counts_are_a_split_and_label(folder: Path) -> None:
    assert check(folder).counts == {"train": (3,) * 7, "public": (2,) * 7, "private": (1,) * 7}


def test_counts_other_than_fer2013s_are_problems(folder: Path) -> None:
    assert "train/disgust: FER2013 has 436, found 3" in check(folder).problems


def test_a_complete_data_set_has_no_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "FER2013_COUNTS", {"train": (3,) * 7, "public": (2,) * 7, "private": (1,) * 7})
    report = check(folder)
    assert report.problems == ()
    assert report.notes == ("complete: every count is FER2013's own",)


def test_a_missing_label_is_named(folder: Path) -> None:
    for split in ("train", "test"):
        shutil.rmtree(folder / split / "disgust")
    assert "FER2013's label 'disgust' has no folder in train/" in check(folder).problems


def test_every_unreadable_file_is_named(folder: Path) -> None:
    sad = folder / "train" / "sad"
    (sad / "a_folder.jpg").mkdir()
    (sad / "empty.jpg").write_bytes(b"")
    (sad / "endless.bmp").write_bytes(struct.pack("<2sIIIIiiHHIIiiII", b"BM", 54, 0, 54, 40, 1 << 17, 1 << 17, 1, 24, 0, 0, 0, 0, 0, 0))
    (sad / "link_to_nothing.jpg").symlink_to(folder / "nothing.jpg")
    (sad / "text.jpg").write_text("not a picture")
    named = [p for p in check(folder).problems if p.startswith("cannot be read")]
    names = ("a_folder.jpg", "empty.jpg", "endless.bmp", "link_to_nothing.jpg", "text.jpg")
    assert named == [f"cannot be read: train/sad/{name}" for name in names]


def test_copies_between_train_and_test_are_counted(folder: Path) -> None:
    shutil.copy(folder / "train" / "fear" / "Training_0.png", folder / "test" / "sad" / "PrivateTest_9.png")
    assert "copies of training images in 'private': 1; 'mien audit' lists them" in check(folder).notes


def test_another_data_set_is_not_measured_against_fer2013(tmp_path: Path) -> None:
    write_shapes(tmp_path, train=2, public=0, private=0)
    for old, new in zip(LABELS, ("a", "b", "c", "d", "e", "f", "g"), strict=True):
        (tmp_path / "train" / old).rename(tmp_path / "train" / new)
    shutil.rmtree(tmp_path / "test")
    report = check(tmp_path)
    assert report.problems == ()
    assert report.notes == ("not FER2013: trains with its own labels, a, b, c, d, e, f, g",)


def test_own_images_under_fer2013s_labels_are_not_measured_against_it(folder: Path) -> None:
    for file in [*folder.rglob("*.png")]:
        file.rename(file.with_name(f"mine_{file.name}"))
    report = check(folder)
    assert report.problems == ()
    assert report.notes[0].startswith("FER2013's labels, but other images")


def test_a_fer2013_with_other_file_names_is_known_by_its_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "FER2013_COUNTS", {"train": (4, *[3] * 6), "public": (2,) * 7, "private": (1,) * 7})
    for file in [*(folder / "train").rglob("*.png")]:
        file.rename(file.with_name(f"im_{file.name}"))
    assert check(folder).problems == ("train/angry: FER2013 has 4, found 3",)


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no 'train' folder"):
        check(tmp_path)
