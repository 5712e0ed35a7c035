from __future__ import annotations

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.assets import demo_photo
from mien.contract import LABELS
from mien.errors import DataError
from mien.train.data import dataset as datasets
from mien.train.data.dataset import VOTE_COLUMNS, Dataset, ferplus_targets, fingerprint, label_targets, load, read_exclusions
from mien.train.data.layouts import CSV_LABELS
from tests.train.shapes import SIDE, write_shapes


def fer_csv(path: Path, rows: list[tuple[str, str, str]], header: tuple[str, ...] = ("emotion", "pixels", "Usage")) -> Path:
    with path.open("w", newline="") as out:
        csv.writer(out).writerows([header, *rows])
    return path


def flat(value: int, count: int = 48 * 48) -> str:
    return " ".join([str(value)] * count)


def complete_csv(path: Path) -> Path:
    rows = [(str(i), flat(i), "Training") for i in range(7)] + [("3", flat(99), "PublicTest"), ("6", flat(98), "PrivateTest")]
    return fer_csv(path, rows)


def test_kaggle_folders_become_train_public_and_private(shapes: Dataset) -> None:
    assert shapes.label_names == LABELS
    assert {split: len(shapes.rows(split)) for split in ("train", "public", "private")} == {"train": 168, "public": 42, "private": 28}
    row = shapes.names.index("train/fear/Training_3.png")
    assert shapes.labels[row] == LABELS.index("fear")
    assert np.array_equal(shapes.images[row], cv2.imread(str(shapes.root / shapes.names[row]), cv2.IMREAD_GRAYSCALE))


def test_the_original_csv_has_its_own_label_order(tmp_path: Path) -> None:
    data = load(complete_csv(tmp_path / "fer2013.csv"), cache=tmp_path / "cache")
    assert [data.label_names[i] for i in data.labels[:7]] == list(CSV_LABELS.values())
    assert data.splits.tolist() == ["train"] * 7 + ["public", "private"]
    assert (data.images[7] == 99).all()


def test_the_csv_of_the_competition_with_other_columns_and_spaces_after_commas_is_read(tmp_path: Path) -> None:
    file = complete_csv(tmp_path / "fer2013.csv")
    with file.open(newline="") as rows:
        text = "".join(f"{emotion}, {usage}, {pixels}\r\n" for emotion, pixels, usage in csv.reader(rows))
    (tmp_path / "icml_face_data.csv").write_text(text, newline="")
    one, other = (load(tmp_path / name, cache=tmp_path / "cache") for name in ("fer2013.csv", "icml_face_data.csv"))
    assert fingerprint(one) == fingerprint(other)
    assert np.array_equal(one.images, other.images)


def test_another_folder_of_classes_keeps_its_own_labels(tmp_path: Path) -> None:
    for label in ("calm", "bored", "tense"):
        for folder in ("train", "validation"):
            (tmp_path / folder / label).mkdir(parents=True)
            (tmp_path / folder / ".ipynb_checkpoints").mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / label / "1.JPG"), np.full((30, 20, 3), 90, np.uint8))
    data = load(tmp_path, size=16, channels=3, cache=tmp_path / "cache")
    assert data.label_names == ("bored", "calm", "tense")
    assert data.images.shape == (6, 16, 16, 3)
    assert len(data.rows("val")) == 3


@pytest.mark.parametrize("channels", [pytest.param(1, id="grey"), pytest.param(3, id="colour")])
def test_transparent_parts_lie_on_white_as_they_do_in_use(tmp_path: Path, channels: int) -> None:
    picture = np.full((16, 16, 4), (40, 40, 40, 255), np.uint8)
    picture[:8, :, 3], picture[8:12, :, 3] = 0, 51
    for label in ("a", "b"):
        (tmp_path / "train" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "train" / label / "1.png"), picture)
    images = load(tmp_path, size=16, channels=channels, cache=tmp_path / "cache").images
    assert [int(images[0][y, 0].min()) for y in (0, 9, 15)] == [255, 212, 40]


def test_the_second_start_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_shapes(tmp_path / "data", train=1, public=1, private=1)
    first = load(root, size=SIDE, cache=tmp_path / "cache")
    monkeypatch.setattr(datasets, "decode", lambda *_: pytest.fail("decoded again"))
    second = load(root, size=SIDE, cache=tmp_path / "cache")
    assert np.array_equal(first.images, second.images)
    assert isinstance(second.images, np.memmap)


def test_a_changed_file_is_decoded_again(tmp_path: Path) -> None:
    root = write_shapes(tmp_path / "data", train=1, public=1, private=1)
    before = load(root, size=SIDE, cache=tmp_path / "cache")
    cv2.imwrite(str(root / before.names[0]), np.full((SIDE, SIDE, 3), 200, np.uint8))
    assert (load(root, size=SIDE, cache=tmp_path / "cache").images[0] == 200).all()


def test_unreadable_files_are_named_and_leave_no_cache(tmp_path: Path) -> None:
    root = write_shapes(tmp_path / "data", train=1, public=1, private=1)
    (root / "train" / "happy" / "empty.jpg").touch()
    (root / "train" / "sad" / "text.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"2 of 23 images cannot be read, for example train/happy/empty.jpg, train/sad/text.png"):
        load(root, size=SIDE, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param([], "has no rows", id="only a header"),
        pytest.param([("7", flat(1), "Training")], "line 2: expected columns emotion", id="label out of range"),
        pytest.param([("-1", flat(1), "Training")], "line 2: expected columns emotion", id="label below zero"),
        pytest.param([("1", flat(1), "Test")], "line 2", id="unknown usage"),
        pytest.param([("1", flat(1))], "line 2", id="a row too short"),
        pytest.param([("1", flat(1), "Training", "1")], "line 2: expected 3 values", id="a row too long"),
        pytest.param([("x", flat(1), "Training")], "line 2", id="label not a number"),
    ],
)
def test_a_csv_that_is_not_fer2013(tmp_path: Path, rows: list[tuple[str, str, str]], says: str) -> None:
    with pytest.raises(DataError, match=says):
        load(fer_csv(tmp_path / "fer2013.csv", rows), cache=tmp_path / "cache")


def test_a_photo_in_the_place_of_a_csv(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a CSV in UTF-8"):
        load(Path(shutil.copy(demo_photo(), tmp_path / "fer2013.csv")))


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(flat(1, 100), id="too few"),
        pytest.param("", id="none"),
        pytest.param(flat(300), id="over 255"),
        pytest.param(flat(1, 2303) + " x", id="words"),
    ],
)
def test_bad_pixels_in_a_csv_are_named_by_line(tmp_path: Path, pixels: str) -> None:
    rows = [(str(i), flat(i), "Training") for i in range(7)] + [("0", pixels, "Training")]
    with pytest.raises(DataError, match=r"Training_7 \(line 9\)"):
        load(fer_csv(tmp_path / "fer2013.csv", rows), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda root: None, "no data at", id="nothing there"),
        pytest.param(lambda root: (root / "images").mkdir(parents=True), "has no 'train' folder", id="another layout"),
        pytest.param(lambda root: (root / "train" / "happy").mkdir(parents=True), "at least two label folders", id="one label"),
        pytest.param(lambda root: [(root / "train" / x).mkdir(parents=True) for x in LABELS], "no image in", id="empty folders"),
        pytest.param(
            lambda root: (write_shapes(root, train=1) / "train" / "fear").rename(root / "train" / "uncertain"),
            "a label cannot be called 'uncertain'",
            id="a label like a column of the results",
        ),
        pytest.param(
            lambda root: (write_shapes(root, train=1) / "train" / "fear").rename(root / "train" / "correct"),
            "a label cannot be called 'correct'",
            id="a label like a column of the predictions",
        ),
        pytest.param(
            lambda root: (write_shapes(root, train=1) / "train" / "fear").rename(root / "train" / "smoothed_sad"),
            "a label cannot be called 'smoothed_sad'",
            id="a label like another label's column",
        ),
        pytest.param(
            lambda root: [root.mkdir(), (root / "a.jpg").touch(), (root / "b.PNG").touch(), (root / "notes.txt").touch()],
            "found 2 images outside of any folder",
            id="photos without folders",
        ),
        pytest.param(
            lambda root: [p.unlink() for p in (write_shapes(root, train=1) / "train" / "fear").iterdir()],
            "no training image for fear",
            id="an empty label",
        ),
        pytest.param(
            lambda root: (write_shapes(root, train=1) / "test" / "joy").mkdir(),
            "a label that train/ does not have",
            id="a label only in test",
        ),
    ],
)
def test_a_folder_that_cannot_train(tmp_path: Path, make: object, says: str) -> None:
    root = tmp_path / "data"
    make(root)  # type: ignore[operator]
    with pytest.raises(DataError, match=says):
        load(root, size=SIDE, cache=tmp_path / "cache")


def test_excluded_images_leave_every_split(shapes: Dataset) -> None:
    gone = {"train/fear/Training_3.png", "test/sad/PublicTest_0.png"}
    data = shapes.exclude(gone)
    assert len(data.rows("train")) == 167
    assert {data.names[i] for i in data.rows("excluded")} == gone
    assert fingerprint(data) != fingerprint(shapes)


def test_an_exclusion_of_an_unknown_file_is_an_error(shapes: Dataset) -> None:
    with pytest.raises(DataError, match="nope"):
        shapes.exclude({"nope.png"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("name\na.png\n", "no 'file' column", id="other columns"),
        pytest.param("name\na.png,b.png\n", "line 2: expected 1 values", id="a row longer than the header"),
        pytest.param(None, "no exclusion list", id="missing"),
    ],
)
def test_a_bad_exclusion_list(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        read_exclusions(tmp_path / "x.csv")


def votes(**counts: float) -> list[float]:
    return [counts.get(column, 0) for column in VOTE_COLUMNS]


@pytest.mark.parametrize(
    ("row", "shares", "weight"),
    [
        pytest.param(votes(happiness=9, neutral=1), {"happiness": 1.0}, 1, id="a single vote is an outlier"),
        pytest.param(votes(happiness=6, neutral=2, unknown=2), {"happiness": 0.75, "neutral": 0.25}, 1, id="unknown does not count"),
        pytest.param(votes(NF=10), None, 0, id="no face"),
        pytest.param(votes(anger=1, fear=1, sadness=1), None, 0, id="only single votes"),
        pytest.param(votes(), None, 0, id="no votes"),
    ],
)
def test_ferplus_votes_become_shares(row: list[float], shares: dict[str, float] | None, weight: float) -> None:
    targets, weights = ferplus_targets(np.array([row], np.float32))
    expected = [1 / 8] * 8 if shares is None else [shares.get(column, 0) for column in VOTE_COLUMNS[:8]]
    assert targets[0].tolist() == pytest.approx(expected)
    assert weights.tolist() == [weight]


def test_votes_for_our_labels_leave_contempt_out() -> None:
    targets, weights = label_targets(np.array([votes(anger=6, contempt=4), votes(contempt=10)], np.float32), LABELS)
    assert targets[0].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert weights.tolist() == [1, 0]


def test_votes_cannot_teach_a_foreign_label() -> None:
    with pytest.raises(DataError, match="'bored'"):
        label_targets(np.zeros((1, 10), np.float32), ("bored", "happy"))


def test_votes_are_matched_by_path(shapes_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    row = ["train/happy/Training_0.png", *map(str, votes(happiness=10))]
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["file", *VOTE_COLUMNS], row, ["elsewhere.png", *["1"] * 10]])
    data = load(shapes_dir, size=SIDE, cache=tmp_path, votes=file)
    assert data.votes is not None
    assert data.votes.sum() == 10
    assert data.votes[data.names.index(row[0]), 1] == 10


def test_the_votes_as_ferplus_publishes_them_fit_the_csv_of_fer2013(tmp_path: Path) -> None:
    usages = ["Training"] * 7 + ["PublicTest", "PrivateTest"]
    counts = np.eye(len(usages), len(VOTE_COLUMNS), dtype=int)
    rows = [[usage, f"fer{at:07}.png" if at != 3 else "", *counts[at]] for at, usage in enumerate(usages)]
    with (tmp_path / "fer2013new.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["Usage", "Image name", *VOTE_COLUMNS], *rows])
    data = load(complete_csv(tmp_path / "fer2013.csv"), votes=tmp_path / "fer2013new.csv", cache=tmp_path / "cache")
    assert data.votes is not None
    assert data.votes.tolist() == counts.tolist()


@pytest.mark.parametrize("count", ["nan", "-4", "inf", "many"])
def test_what_is_no_number_of_votes_is_named_by_line(shapes_dir: Path, tmp_path: Path, count: str) -> None:
    file = tmp_path / "votes.csv"
    file.write_text(f"file,{','.join(VOTE_COLUMNS)}\ntrain/happy/Training_0.png,{count}{',1' * 9}\n")
    with pytest.raises(DataError, match="line 2: expected a number of votes"):
        load(shapes_dir, size=SIDE, cache=tmp_path, votes=file)


def test_votes_of_another_data_set_are_an_error(shapes_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_text("file," + ",".join(VOTE_COLUMNS) + "\nelsewhere.png" + ",1" * 10 + "\n")
    with pytest.raises(DataError, match="names a file of this data set"):
        load(shapes_dir, size=SIDE, cache=tmp_path, votes=file)
