from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mien.train.data import audit
from mien.train.data import dataset as datasets
from mien.train.report.audit import audit_html
from tests.train import made_up


def picture(seed: int) -> np.ndarray:
    """Return a grey picture (48, 48) of a few shapes, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (48, 48), int(rng.integers(90, 160)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = rng.integers(0, 40, 2)
        draw.ellipse((x, y, x + rng.integers(6, 30), y + rng.integers(6, 30)), fill=int(rng.integers(0, 255)))
    return np.asarray(image)


# file -> picture; the letters are pictures, equal letters equal pixels.
LAYOUT = {
    "train/happy/t0": "a",
    "train/happy/t1": "a",
    "train/sad/t2": "a",
    "train/sad/t3": "b",
    "train/sad/t4": "c",
    "train/happy/t5": "blank",
    "test/happy/PrivateTest_0": "a",
    "test/happy/PrivateTest_1": "b",
    "test/sad/PrivateTest_2": "d",
    "test/happy/PublicTest_3": "d",
    "test/happy/PublicTest_4": "e",
    "test/sad/PublicTest_5": "almost e",
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> datasets.Dataset:
    root = tmp_path_factory.mktemp("audit")
    pixels = {name: picture(ord(name)) for name in "abcde"}
    pixels["blank"] = np.zeros((48, 48), np.uint8)
    pixels["almost e"] = np.clip(pixels["e"].astype(int) + 9, 0, 255).astype(np.uint8)
    for path, name in LAYOUT.items():
        folder, label, stem = path.split("/")
        made_up.write(root / "data", folder, label, stem, pixels[name])
    return datasets.load(root / "data", cache=root / "cache")


@pytest.fixture(scope="module")
def findings(faces: datasets.Dataset) -> list[audit.Finding]:
    return [*audit.copy_findings(faces, audit.copies(faces)), *audit.blanks(faces), *audit.near_copies(faces)]


@pytest.mark.parametrize(
    ("problem", "files"),
    [
        pytest.param("copy", ["t1", "t2", "PrivateTest_2"], id="all but the first of a side"),
        pytest.param("copy of a training image", ["PrivateTest_0", "PrivateTest_1"], id="test images that were trained on"),
        pytest.param("conflicting labels", ["t0", "t1", "t2"], id="one picture, two labels in training: a test label excludes nothing"),
        pytest.param("blank", ["t5"], id="nothing on it"),
        pytest.param("near copy", ["PublicTest_4", "PublicTest_5"], id="the same, a little brighter"),
    ],
)
def test_findings(faces: datasets.Dataset, findings: list[audit.Finding], problem: str, files: list[str]) -> None:
    assert sorted(Path(faces.names[f.row]).stem for f in findings if f.problem == problem) == sorted(files)


def test_summary(faces: datasets.Dataset, findings: list[audit.Finding]) -> None:
    got = audit.summary(faces, audit.copies(faces), findings)
    assert got["images"] == 12
    assert got["distinct_images"] == len(set(LAYOUT.values()))
    assert got["duplicate_groups"] == 3
    assert got["groups_with_conflicting_labels"] == 3  # a, d between the two test splits, and b across the border
    assert got["test_copies_of_training_images"] == {"private": 2}
    assert got["redundant_in_test"] == 1


def test_the_exclusion_list_is_taken_back_and_leaves_candidates_in(
    faces: datasets.Dataset, findings: list[audit.Finding], tmp_path: Path
) -> None:
    everything, exclusions = audit.write_findings(faces, findings, tmp_path)
    left = faces.exclude(datasets.read_exclusions(exclusions))
    kept = {Path(name).stem for name, split in zip(left.names, left.splits, strict=True) if split != "excluded"}
    assert kept == {"t3", "t4", "PublicTest_3", "PublicTest_4", "PublicTest_5"}
    with everything.open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == len(findings)


class SeesBright:
    """Finds a face wherever the middle of the picture is brighter than a level."""

    name = "bright"

    def __init__(self, level: float) -> None:
        self.level, self.asked = level, 0

    def detect(self, frame_rgb: np.ndarray, min_face: float = 20) -> tuple[str, ...]:
        self.asked += 1
        return ("face",) if frame_rgb.mean() > self.level else ()


def test_the_careful_detector_sees_only_what_the_quick_one_missed(faces: datasets.Dataset) -> None:
    means = np.asarray(faces.images).mean((1, 2))
    quick, careful = SeesBright(float(np.median(means))), SeesBright(1)
    found = list(audit.faceless(faces, [quick, careful]))
    assert [Path(faces.names[f.row]).stem for f in found] == ["t5"]
    assert quick.asked == 12
    assert careful.asked == (means <= np.median(means)).sum()


def test_real_detectors_find_no_face_in_shapes(faces: datasets.Dataset) -> None:
    assert {"t5", "t4"} <= {Path(faces.names[f.row]).stem for f in audit.faceless(faces, audit.face_detectors())}


def test_doubtful_labels_come_least_believed_first(faces: datasets.Dataset) -> None:
    many = np.tile(np.arange(len(faces)), 10)
    data = replace(faces, images=faces.images[many], labels=faces.labels[many], splits=faces.splits[many], names=(*faces.names,) * 10)
    p = np.full((len(data), 2), 0.1)
    p[np.arange(len(data)), data.labels] = 0.9
    p[5] = p[5][::-1]
    p[17] = (0.99, 0.01) if data.labels[17] else (0.01, 0.99)
    assert [f.row for f in audit.doubtful_labels(data, p)] == [17, 5]


def test_the_crowd_is_asked_about_the_labels_that_models_doubt(faces: datasets.Dataset, findings: list[audit.Finding]) -> None:
    happy, sad = (datasets.VOTE_LABELS[name] for name in ("happy", "sad"))
    votes = np.zeros((len(faces), 10), np.float32)
    own = np.where(faces.labels == faces.label_names.index("happy"), happy, sad)
    votes[np.arange(len(faces)), own] = 10
    votes[[1, 4]] = 0  # nobody voted on 4; on 1 everybody for the other label
    votes[1, happy + sad - own[1]] = 10
    doubted = [*findings, audit.Finding(1, "doubtful label", 0, ""), audit.Finding(3, "doubtful label", 1, "")]
    told = audit.crowd_disagrees(replace(faces, votes=votes), doubted)
    assert told == {
        "all doubtful labels": {"images": 2, "share": 0.5},
        "all other labels": {"images": len(faces) - 3, "share": 0.0},
    }
    page = audit_html(faces, {**audit.summary(faces, audit.copies(faces), findings), "crowd_disagrees": told}, findings)
    assert "50.0 %" in page


def test_the_page_shows_each_kind_and_is_one_file(faces: datasets.Dataset, findings: list[audit.Finding]) -> None:
    page = audit_html(faces, audit.summary(faces, audit.copies(faces), findings), findings)
    for text in ("Conflicting labels", "Near copy", "happy and sad", "PublicTest_5.png"):
        assert text in page
    assert 'src="http' not in page
    assert "href=" not in page
