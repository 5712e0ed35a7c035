"""Whole photos are judged as users meet them: no face and a broken file are wrong answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.assets import demo_photo
from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.errors import DataError
from mien.pipeline import analyze
from mien.train.evaluation.calibrate import calibrated_on_photos
from mien.train.evaluation.evaluate import evaluate
from mien.train.evaluation.metrics import summary
from mien.train.evaluation.photos import labelled_photos, people_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for label in ("Happy", "sad", "neutral"):
        (root / label).mkdir()
    shutil.copy(demo_photo(), root / "Happy" / "eileen.jpg")
    Image.new("RGB", (200, 200), "grey").save(root / "sad" / "wall.png")
    (root / "neutral" / "cut.jpg").write_bytes(Path(demo_photo()).read_bytes()[:2000])
    return root


def test_a_photo_is_answered_as_the_pipeline_answers_it_and_the_others_count_as_wrong(folder: Path) -> None:
    model = Classifier(open_bundle())
    data, split = labelled_photos(folder, model.spec)
    assert data.names == ("Happy/eileen.jpg",)
    assert {one.file: one.reason for one in split.missing} == {"sad/wall.png": "no face", "neutral/cut.jpg": "corrupt_media"}
    (face,) = analyze(demo_photo()).faces
    assert model.probabilities(data.images)[0] == pytest.approx(face.emotions.probabilities, abs=1e-6)
    figures = evaluate(model, data, [split]).metrics["splits"]["photos"]
    assert figures["n"] == 3
    assert figures["accuracy"]["value"] == pytest.approx(1 / 3)
    assert figures["missing"]["sad"] == figures["missing"]["neutral"] == 1
    assert figures["per_class"]["sad"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert figures["kept"]["coverage"] <= 1 / 3
    assert [row["file"] for row in figures["without_answer"]] == ["neutral/cut.jpg", "sad/wall.png"]


def test_a_folder_without_a_face_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sad").mkdir()
    shutil.copy(folder / "sad" / "wall.png", tmp_path / "sad")
    with pytest.raises(DataError, match=r"none of the 1 photos .*no face"):
        labelled_photos(tmp_path, open_bundle().spec)


def test_people_are_read_by_file_and_a_photo_without_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("person,file\n7,a.jpg\n8,b.jpg\n", encoding="utf-8")
    assert people_of(["b.jpg", "a.jpg"], file).tolist() == ["8", "7"]
    with pytest.raises(DataError, match=r"no person for 1 of 2 photos, for example c\.jpg"):
        people_of(["a.jpg", "c.jpg"], file)
    file.write_text("who,file\n7,a.jpg\n", encoding="utf-8")
    with pytest.raises(DataError, match="columns file,person"):
        people_of(["a.jpg"], file)


def test_pictures_without_an_answer_lower_every_figure_that_counts_faces() -> None:
    p = np.eye(3)[[0, 1, 1, 2]] * 0.8 + 0.2 / 3
    plain, less = summary(p, [0, 1, 1, 2], "abc"), summary(p, [0, 1, 1, 2], "abc", missing=[0, 2, 2, 2])
    assert plain["accuracy"]["value"] == 1
    assert less["n"] == 8
    assert less["accuracy"]["value"] == 0.5
    assert [less["per_class"][name]["recall"] for name in "abc"] == [0.5, 1, 0.25]
    assert less["mean_recall"]["value"] == pytest.approx(1.75 / 3)
    assert less["missing"] == {"a": 1, "b": 0, "c": 3}
    assert summary(p, [0, 1, 1, 2], "abc", min_faces=2)["mean_recall"]["labels"] == ["b"]


def test_the_threshold_is_that_of_the_photos_and_the_temperature_is_of_both() -> None:
    rng = np.random.default_rng(0)

    def set_of(count: int, stretch: float) -> tuple[np.ndarray, np.ndarray]:
        truth = rng.integers(0, 7, count)
        logits = rng.normal(size=(count, 7))
        logits[np.arange(count), truth] += 2
        return logits * stretch, truth

    crops, photos = set_of(2000, 3.0), set_of(2000, 1.5)
    spec = calibrated_on_photos(open_bundle().spec, [crops], photos, 0.9)
    assert 0.8 < spec.temperature < 3
    confidence = np.exp(photos[0] / spec.temperature)
    confidence /= confidence.sum(1, keepdims=True)
    sure = confidence.max(1) >= spec.uncertain_below
    assert (photos[0].argmax(1) == photos[1])[sure].mean() == pytest.approx(0.9, abs=0.005)
