from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.contract import LABELS
from mien.errors import DataError
from mien.train.data import dataset as datasets
from mien.train.data import splits
from tests.train import made_up


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> datasets.Dataset:
    root = tmp_path_factory.mktemp("fer")
    made_up.fer2013(root / "data")
    return datasets.load(root / "data", votes=made_up.votes(root / "data", root / "votes.csv"), cache=root / "cache")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        pytest.param("private", 84, id="as published"),
        pytest.param("test", 168, id="both test splits"),
        pytest.param("clean", 77, id="without the seven copies of training images"),
        pytest.param("ferplus", 77, id="without the seven that raters did not agree on"),
        pytest.param("ferplus-public", 84, id="PublicTest, on which they did"),
        pytest.param("train", 28, id="what the model learned from"),
    ],
)
def test_sizes(faces: datasets.Dataset, name: str, count: int) -> None:
    assert len(splits.select(faces, name, LABELS)) == count


def test_without_a_split_the_reported_images_are_meant_and_never_others(faces: datasets.Dataset) -> None:
    assert splits.asked(faces, None, LABELS) == ("private",)
    assert splits.asked(faces, "all", LABELS) == splits.ALL
    assert splits.asked(replace(faces, votes=None), "all", LABELS) == ("private", "clean", "public", "test")
    assert splits.asked(replace(faces, splits=np.where(faces.splits == "train", "train", "val")), None, LABELS) == ("test",)
    assert splits.asked(replace(faces, splits=np.where(faces.splits == "train", "train", "val")), "all", LABELS) == ("val",)


def test_labels_come_in_the_order_of_the_model(faces: datasets.Dataset) -> None:
    backwards = LABELS[::-1]
    split = splits.select(faces, "private", backwards)
    assert [backwards[i] for i in split.labels] == [faces.label_names[i] for i in faces.labels[split.rows]]


def test_contempt_is_a_label_of_its_own_under_ferplus(faces: datasets.Dataset) -> None:
    split = splits.select(faces, "ferplus", LABELS)
    contempt = split.rows[split.labels == split.label_names.index("contempt")]
    assert {Path(faces.names[row]).stem for row in contempt} == {"PrivateTest_1"}


def test_a_model_of_ferplus_labels_is_measured_under_them_in_its_own_order(faces: datasets.Dataset) -> None:
    ours = splits.FERPLUS_NAMES[::-1]
    assert splits.asked(faces, None, ours) == ("ferplus",)
    assert splits.asked(faces, "all", ours) == ("ferplus", "ferplus7", "ferplus-public")
    mine, theirs = splits.select(faces, "ferplus", ours), splits.select(faces, "ferplus", LABELS)
    assert mine.label_names == ours
    assert [ours[i] for i in mine.labels] == [theirs.label_names[i] for i in theirs.labels]
    with pytest.raises(DataError, match="measure it with --split ferplus or ferplus-public or ferplus7"):
        splits.select(faces, "private", ours)
    own = replace(faces, splits=np.where(faces.splits == "train", "train", "val"))
    with pytest.raises(DataError, match="the data lacks contempt"):
        splits.select(own, "val", ours)


def test_the_seven_labels_leave_out_what_most_raters_call_contempt(faces: datasets.Dataset) -> None:
    for names in (LABELS, splits.FERPLUS_NAMES):
        seven, eight = (splits.select(faces, name, names) for name in ("ferplus7", "ferplus"))
        assert set(seven.label_names) == set(LABELS)
        dropped = sorted(set(eight.rows.tolist()) - set(seven.rows.tolist()))
        assert {Path(faces.names[row]).stem for row in dropped} == {"PrivateTest_1"}
        kept = np.isin(eight.rows, seven.rows)
        assert [seven.label_names[i] for i in seven.labels] == [eight.label_names[i] for i in eight.labels[kept]]


def test_a_model_of_what_people_see_is_measured_and_calibrated_under_their_labels_first(faces: datasets.Dataset) -> None:
    assert splits.asked(faces, None, LABELS, "ferplus") == ("ferplus7",)
    assert splits.asked(faces, "all", LABELS, "ferplus")[:3] == ("ferplus7", "ferplus", "private")
    assert splits.choosing(faces, LABELS, "ferplus") == "ferplus7-public"
    without = replace(faces, votes=None)
    assert splits.asked(without, None, LABELS, "ferplus") == ("private",)
    assert splits.asked(faces, None, LABELS, "fer2013") == ("private",)
    assert splits.choosing(faces, LABELS) == "public"


def test_contempt_of_ones_own_data_is_a_label_like_others(faces: datasets.Dataset) -> None:
    ours = (*LABELS[:6], "contempt")
    own = replace(faces, label_names=ours)
    assert splits.asked(own, None, ours) == ("private",)
    assert len(splits.select(own, "private", ours)) == 84


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        pytest.param([6, 0, 0, 4, 0, 0, 0, 0, 0, 0], "neutral", id="more than half"),
        pytest.param([5, 0, 0, 5, 0, 0, 0, 0, 0, 0], None, id="a tie"),
        pytest.param([5, 1, 1, 1, 0, 0, 0, 0, 2, 0], "neutral", id="single votes are dropped before counting"),
        pytest.param([4, 0, 0, 0, 0, 0, 0, 0, 4, 2], None, id="unknown and no-face count as votes"),
        pytest.param([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None, id="single votes only"),
        pytest.param([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], None, id="no face is no emotion"),
        pytest.param([0, 0, 0, 0, 4, 0, 0, 0, 2, 4], None, id="votes for no face count against an emotion"),
        pytest.param([0] * 10, None, id="removed by FER+"),
    ],
)
def test_ferplus_majority(votes: list[int], label: str | None) -> None:
    answer = splits.ferplus_majority(np.array([votes], np.float32))[0]
    assert (splits.FERPLUS_NAMES[answer] if answer >= 0 else None) == label


@pytest.mark.skipif(
    not {"MIEN_FER2013", "MIEN_FERPLUS"} <= set(os.environ),
    reason="FER2013 may not be passed on: name its folder in MIEN_FER2013 and the votes in MIEN_FERPLUS",
)
def test_four_images_are_the_whole_difference_to_the_published_ferplus_counts(tmp_path: Path) -> None:
    real = datasets.load(os.environ["MIEN_FER2013"], votes=os.environ["MIEN_FERPLUS"], cache=tmp_path)
    assert real.votes is not None
    ours = splits.ferplus_majority(real.votes) >= 0
    emotions = np.where(real.votes > 1, real.votes, 0)[:, :9]  # without the votes for no face
    with np.errstate(invalid="ignore"):
        too_few = emotions.max(1) / emotions.sum(1) <= 0.5  # never true of zero votes of zero
    published = ~too_few & (emotions.argmax(1) < 8) & (real.votes.sum(1) > 0)
    assert [int(published[real.rows(name)].sum()) for name in ("train", "public", "private")] == [25_060, 3_199, 3_153]
    assert {Path(real.names[row]).stem for row in np.flatnonzero(published != ours)} == {
        "PrivateTest_15353271",
        "Training_71192880",
        "Training_45577250",
        "Training_97360221",
    }
    assert not (ours & ~published).any()


def test_a_folder_of_classes_is_a_split(tmp_path: Path) -> None:
    for k, label in enumerate(LABELS):
        made_up.write(tmp_path, ".", label, "one", made_up.chip(k, 0, side=96))
    found = splits.labelled_folder(tmp_path, LABELS, size=48, channels=1)
    assert found.images.shape == (7, 48, 48)
    assert found.names[0] == "angry/one.png"
    assert splits.select(found, "folder", LABELS).labels.tolist() == list(range(7))


def test_a_folder_may_lack_labels_and_write_them_large(tmp_path: Path) -> None:
    for label in ("Surprise", "happy"):
        made_up.write(tmp_path, ".", label, "one", made_up.chip(0, 0))
    found = splits.select(splits.labelled_folder(tmp_path, LABELS, size=48, channels=1), "folder", LABELS)
    assert [LABELS[i] for i in found.labels] == ["surprise", "happy"]
    assert found.label_names == LABELS


def test_labels_that_differ_in_case_alone_stay_apart(tmp_path: Path) -> None:
    for label in ("A", "a"):
        made_up.write(tmp_path, ".", label, "one", made_up.chip(0, 0))
    assert splits.labelled_folder(tmp_path, ("A", "a"), size=48, channels=1).labels.tolist() == [0, 1]


def folder_with(tmp_path: Path, labels: tuple[str, ...]) -> Path:
    for label in labels:
        made_up.write(tmp_path, ".", label, "one", made_up.chip(0, 0))
    return tmp_path


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda f, t: splits.select(f, "secret", LABELS), "unknown split 'secret'", id="unknown split"),
        pytest.param(lambda f, t: splits.select(f, "val", LABELS), "no image in the split 'val'", id="empty split"),
        pytest.param(
            lambda f, t: splits.select(replace(f, splits=np.full(len(f), "train")), "ferplus", LABELS), "no image", id="no PrivateTest"
        ),
        pytest.param(
            lambda f, t: splits.select(replace(f, votes=np.zeros((len(f), 10))), "ferplus", LABELS), "agree on none", id="no votes"
        ),
        pytest.param(lambda f, t: splits.select(f, "private", ("a", "b")), "does not know angry|lacks a, b", id="another model's labels"),
        pytest.param(lambda f, t: splits.labelled_folder(t / "no", LABELS, size=48, channels=1), "no folder at", id="no folder"),
        pytest.param(
            lambda f, t: splits.labelled_folder(folder_with(t, (*LABELS, "bored")), LABELS, size=48, channels=1),
            "does not know bored",
            id="a class is unknown",
        ),
    ],
)
def test_bad_input_is_named(faces: datasets.Dataset, tmp_path: Path, call: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call(faces, tmp_path)


def test_an_unreadable_picture_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    root = folder_with(tmp_path, LABELS)
    (root / "fear" / "one.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"fear/one\.png"):
        splits.labelled_folder(root, LABELS, size=48, channels=1)
    for file in root.glob("*/*"):
        file.unlink()
    with pytest.raises(DataError, match="no image in"):
        splits.labelled_folder(root, LABELS, size=48, channels=1)


def test_ferplus_without_votes_says_what_to_add(faces: datasets.Dataset) -> None:
    with pytest.raises(DataError, match="--votes FILE"):
        splits.select(replace(faces, votes=None), "ferplus", LABELS)
