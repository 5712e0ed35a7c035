from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from mien.classify import Classifier
from mien.contract import LABELS
from mien.errors import DataError, UsageError
from mien.train.data import dataset as datasets
from mien.train.data import splits
from mien.train.evaluation import evaluate, groups
from tests.train import made_up


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set ``data``, ``votes.csv`` and the bundle ``model``."""
    root = tmp_path_factory.mktemp("home")
    made_up.fer2013(root / "data")
    made_up.votes(root / "data", root / "votes.csv")
    made_up.brightness_bundle(root / "model", temperature=2.0)
    return root


@pytest.fixture(scope="module")
def faces(home: Path) -> datasets.Dataset:
    return datasets.load(home / "data", votes=home / "votes.csv", cache=home / "cache")


@pytest.fixture(scope="module")
def result(home: Path, faces: datasets.Dataset) -> evaluate.Evaluation:
    model = evaluate.open_model(home / "model")
    return evaluate.evaluate(model, faces, [splits.select(faces, name, LABELS) for name in splits.ALL])


def test_figures_agree_with_the_runtime_asked_image_by_image(home: Path, faces: datasets.Dataset, result: evaluate.Evaluation) -> None:
    classifier = evaluate.open_model(home / "model")
    assert isinstance(classifier, Classifier)
    rows = faces.rows("private")
    p = np.concatenate([classifier.probabilities(np.asarray(faces.images[row : row + 1])) for row in rows])
    told = result.metrics["splits"]["private"]
    assert told["accuracy"]["value"] == pytest.approx(accuracy_score(faces.labels[rows], p.argmax(1)))
    assert told["log_loss"] == pytest.approx(-np.log(p[np.arange(len(rows)), faces.labels[rows]]).mean(), rel=1e-5)
    assert told["kept"]["coverage"] == pytest.approx((p.max(1) >= 0.6).mean())


def test_the_figures_name_the_engine_that_answered(home: Path, faces: datasets.Dataset) -> None:
    model = evaluate.open_model(home / "model")
    twin = SimpleNamespace(spec=model.spec.updated(format="litert-int8"), logits=model.logits)
    told = [evaluate.evaluate(m, faces, [splits.select(faces, "train", LABELS)]).metrics["model"]["source"] for m in (model, twin)]
    assert told == ["onnx", "litert"]


def test_a_network_whose_numbers_ran_away_is_an_error_that_says_so(home: Path, faces: datasets.Dataset) -> None:
    model = evaluate.open_model(home / "model")
    broken = SimpleNamespace(spec=model.spec, logits=lambda chips: np.full((len(chips), 7), np.nan, np.float32))
    with pytest.raises(UsageError, match="28 of 28 faces; the model is damaged"):
        evaluate.evaluate(broken, faces, [splits.select(faces, "train", LABELS)])


def test_an_image_in_several_splits_is_classified_once(result: evaluate.Evaluation) -> None:
    assert len(result.logits) == len(np.unique(result.rows)) == 168


def test_contempt_counts_as_an_error_and_leaves_no_log_loss(result: evaluate.Evaluation) -> None:
    told = result.metrics["splits"]["ferplus"]
    assert told["per_class"]["contempt"] == {"precision": 0, "recall": 0, "f1": 0, "support": 7}
    assert told["accuracy"]["value"] <= 70 / 77
    assert told["log_loss"] is None


def test_agreement_of_raters_covers_every_ferplus_face(result: evaluate.Evaluation) -> None:
    told = result.metrics["splits"]["ferplus"]
    assert {name: row["n"] for name, row in told["by_agreement"].items()} == {"seven of ten or fewer": 77}


def test_files_can_be_read_back(tmp_path: Path, faces: datasets.Dataset, result: evaluate.Evaluation) -> None:
    evaluate.write_metrics(result, tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == result.metrics
    table, parquet = evaluate.write_predictions(result, faces, tmp_path)
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    private = [row for row in rows if row["split"] == "private"]
    share = sum(row["label"] == row["predicted"] for row in private) / len(private)
    assert share == pytest.approx(result.metrics["splits"]["private"]["accuracy"]["value"])
    assert all(abs(sum(float(row[label]) for label in LABELS) - 1) < 1e-9 for row in rows)
    assert "contempt" not in {row["label"] for row in rows}  # FER2013's labels come first

    import pyarrow.parquet

    assert pyarrow.parquet.read_table(parquet).num_rows == len(rows)


def test_the_table_of_answers_has_the_labels_that_they_were_measured_by(tmp_path: Path, home: Path, faces: datasets.Dataset) -> None:
    told = evaluate.evaluate(evaluate.open_model(home / "model"), faces, [splits.select(faces, "ferplus", LABELS)])
    evaluate.write_predictions(told, faces, tmp_path)
    with (tmp_path / "predictions.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert sum(row["label"] == "contempt" for row in rows) == 7
    assert sum(row["correct"] == "True" for row in rows) == round(77 * told.metrics["splits"]["ferplus"]["accuracy"]["value"])


def test_groups_have_their_own_figures_and_a_gap(tmp_path: Path, home: Path, faces: datasets.Dataset) -> None:
    file = tmp_path / "groups.csv"
    rows = [f"{name},{'dark' if faces.labels[i] < 3 else 'light'}" for i, name in enumerate(faces.names) if faces.splits[i] == "private"]
    file.write_text("file,tone\n" + "\n".join(rows) + "\n")
    chosen = [splits.select(faces, name, LABELS) for name in ("private", "public")]
    told = evaluate.evaluate(evaluate.open_model(home / "model"), faces, chosen, groups.read_groups(file, faces.names))
    assert "by_group" not in told.metrics["splits"]["public"]  # the file says nothing about it
    tone = told.metrics["splits"]["private"]["by_group"]["tone"]
    assert {name: row["n"] for name, row in tone["groups"].items()} == {"dark": 36, "light": 48}
    values = {name: row["accuracy"]["value"] for name, row in tone["groups"].items()}
    assert tone["gap"]["accuracy"]["value"] == pytest.approx(max(values.values()) - min(values.values()))
    assert tone["gap"]["accuracy"]["low"] <= tone["gap"]["accuracy"]["value"] <= tone["gap"]["accuracy"]["high"]
    for figure in groups.FIGURES:
        assert all(row[figure]["low"] <= row[figure]["high"] for row in tone["groups"].values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("file\na\n", "one column per grouping", id="no grouping"),
        pytest.param("name,age\na,3\n", "needs a 'file' column", id="no file column"),
        pytest.param("", "no rows", id="empty file"),
        pytest.param("file,age\nelsewhere.jpg,3\n", "names an image of this data set", id="another data set"),
    ],
)
def test_bad_groups_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        groups.read_groups(tmp_path / "groups.csv", ("test/fear/x.jpg",))


def test_a_run_without_a_bundle_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"mien export .* or add --keras"):
        evaluate.open_model(tmp_path)


def test_a_run_is_judged_by_the_bundle_it_shipped(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    made_up.brightness_bundle(tmp_path / "bundle")
    assert evaluate.open_model(tmp_path).spec.name == "brightness"


def test_keras_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not one"):
        evaluate.open_model(tmp_path, keras=True)


def test_the_curves_end_where_the_figures_stand(result: evaluate.Evaluation) -> None:
    for told in result.metrics["splits"].values():
        assert sum(told["reliability"]["n"]) == told["n"]
        assert told["risk_coverage"]["coverage"][-1] == 1
        assert told["risk_coverage"]["accuracy"][-1] == pytest.approx(told["accuracy"]["value"])


def test_groups_of_one_have_no_gap() -> None:
    p, y = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])
    assert groups.by_group(p, y, np.array(["all", "all"]))["gap"] is None


@pytest.mark.slow
def test_a_run_and_its_shipped_file_answer_alike(shapes: datasets.Dataset, tmp_path: Path) -> None:
    from mien.train.export.bundle import export_run
    from mien.train.loop.fit import fit
    from tests.train.shapes import tiny_recipe

    fit(tiny_recipe(epochs=1), shapes, tmp_path / "run")
    export_run(tmp_path / "run", shapes, tmp_path / "run" / "bundle", target_accuracy=0.1)
    source, twin = (evaluate.open_model(tmp_path / "run", keras=keras) for keras in (True, False))
    chips = np.asarray(shapes.images[:20])
    assert np.abs(source.logits(chips) - twin.logits(chips)).max() < 1e-4
    assert source.spec == twin.spec
    told = evaluate.evaluate(source, shapes, [splits.select(shapes, "private", source.spec.labels)]).metrics
    assert told["model"]["source"] == "keras"
