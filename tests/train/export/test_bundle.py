"""From a run folder to a bundle: the same answers as its source, its own labels, and no bundle at all when something is off."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.cli.console import HEADS
from mien.contract import template_for
from mien.errors import ExportError, TrainingError, UsageError
from mien.train import models
from mien.train.data.dataset import VOTE_COLUMNS, VOTE_LABELS, Dataset
from mien.train.data.splits import FERPLUS_NAMES, select, split_rows
from mien.train.evaluation.calibrate import fit_temperature
from mien.train.evaluation.evaluate import KerasModel
from mien.train.export import bundle as module
from mien.train.export.bundle import compare, export_run, to_onnx
from mien.train.export.formats.judge import sample_of
from mien.train.loop.batches import to_input
from mien.train.loop.fit import fit
from mien.train.loop.trained import inference_model, rows_of
from mien.train.models import build_model
from tests.support import tiny_bundle
from tests.train.shapes import SIDE, tiny_recipe

# What tf2onnx and Keras say under NumPy 2; theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def run(shapes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    fit(tiny_recipe(epochs=3, flip_average=True, **{"loss.label_smoothing": 0.05}), shapes, folder)
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path, shapes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    export_run(run, shapes, out, version="3.1", target_accuracy=0.3)
    return out


def test_the_bundle_answers_as_the_keras_network_does(run: Path, bundle: Path, shapes: Dataset) -> None:
    chips = np.asarray(shapes.images[shapes.rows("private")])
    source = keras.ops.convert_to_numpy(inference_model(run)(to_input(chips), training=False))
    exported = Classifier(open_bundle(bundle)).logits(chips)
    assert np.abs(source - exported).max() < 1e-4
    assert exported.std() > 0.01, "a network that answers the same for every chip would agree with anything"


def test_the_bundle_says_what_it_is(bundle: Path, shapes: Dataset) -> None:
    spec = open_bundle(bundle).spec
    assert (spec.name, spec.version, spec.labels) == ("tiny", "3.1", shapes.label_names)
    assert (spec.chip_size, spec.channels) == (SIDE, 1)
    assert spec.template == template_for(SIDE)
    assert spec.temperature != 1.0
    graph = onnx.load(open_bundle(bundle).model_path).graph
    assert [node.name for node in graph.input] == ["chips"]
    assert [node.name for node in graph.output] == ["logits"]


def test_the_head_of_votes_answers_ferplus_labels_calibrated_on_its_own_majority(shapes: Dataset, tmp_path: Path) -> None:
    votes = np.zeros((len(shapes), len(VOTE_COLUMNS)), np.float32)
    votes[np.arange(len(shapes)), [VOTE_LABELS[shapes.label_names[label]] for label in shapes.labels]] = 7
    votes[shapes.rows("public")[0]] = 1  # each rater saw something else
    data = replace(shapes, votes=votes)
    fit(tiny_recipe(**{"epochs": 10, "loss.votes_weight": 1.0}), data, tmp_path / "run")
    spec = export_run(tmp_path / "run", data, tmp_path / "bundle", head="votes", target_accuracy=0.2).spec
    assert spec.labels == FERPLUS_NAMES
    faces = select(data, "ferplus-public", spec.labels)
    assert len(faces) == len(shapes.rows("public")) - 1
    logits = Classifier(open_bundle(tmp_path / "bundle")).logits(np.asarray(data.images[faces.rows]))
    assert spec.temperature == pytest.approx(fit_temperature(logits, faces.labels), rel=1e-3)
    assert float((logits.argmax(1) == faces.labels).mean()) > 0.3  # chance is 0.14
    with pytest.raises(UsageError, match="add --votes FILE"):
        export_run(tmp_path / "run", shapes, tmp_path / "other", head="votes")
    undecided = votes.copy()
    undecided[shapes.rows("public")] = 1
    with pytest.raises(UsageError, match="agree on none of the 42 validation images"):
        export_run(tmp_path / "run", replace(shapes, votes=undecided), tmp_path / "other", head="votes")
    own = replace(data, splits=np.where(data.splits == "public", "val", np.where(data.splits == "private", "test", data.splits)))
    sample = sample_of(spec, own)  # of data with a split 'val'
    assert sample.truth is not None
    assert sample.truth.tolist() == faces.labels.tolist()
    export_run(tmp_path / "run", data, tmp_path / "run/bundle", head="votes", target_accuracy=0.2)
    assert KerasModel(tmp_path / "run").spec.labels == shapes.label_names  # the bundle of the other head says nothing of this one
    assert HEADS == models.HEADS


def test_a_run_without_votes_has_no_such_head(run: Path, shapes: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="has no head 'votes', only emotion"):
        export_run(run, shapes, tmp_path / "out", head="votes")


def test_what_a_run_left_out_or_held_back_by_chance_is_told_from_what_it_trained_on(shapes: Dataset, tmp_path: Path) -> None:
    train = shapes.rows("train")
    seen = shapes.exclude({shapes.names[row] for row in train[[3, 50]]})
    fit(tiny_recipe(epochs=1), seen, tmp_path / "run", validation="holdout")
    for told, expected in zip(rows_of(tmp_path / "run", shapes), split_rows(seen, "holdout", 0), strict=True):
        assert told.tolist() == expected.tolist()
    renamed = replace(shapes, names=tuple("new.png" if row == train[0] else name for row, name in enumerate(shapes.names)))
    with pytest.raises(UsageError, match="held back a tenth of its training images"):
        rows_of(tmp_path / "run", renamed)


def test_a_chip_and_its_mirror_image_get_the_same_answer(bundle: Path, shapes: Dataset) -> None:
    chips = np.asarray(shapes.images[:20])
    classifier = Classifier(open_bundle(bundle))
    assert classifier.logits(chips[:, :, ::-1].copy()) == pytest.approx(classifier.logits(chips), abs=1e-4)


def test_a_graph_that_differs_is_refused(run: Path, shapes: Dataset, tmp_path: Path) -> None:
    other = Classifier(tiny_bundle(tmp_path / "other", chip_size=SIDE))
    with pytest.raises(ExportError, match="differs from its source"):
        compare(inference_model(run), other, np.asarray(shapes.images[:10]))


def test_nothing_is_written_when_the_check_fails(run: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(ExportError):
        export_run(run, shapes, tmp_path / "out", target_accuracy=0.3)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_bundle_is_never_replaced(run: Path, shapes: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years")
    for folder in (tmp_path, run):
        before = sorted(folder.iterdir())
        with pytest.raises(UsageError, match="is no bundle"):
            export_run(run, shapes, folder, overwrite=True)
        assert sorted(folder.iterdir()) == before


def test_a_bundle_is_replaced_only_when_asked(run: Path, shapes: Dataset, tmp_path: Path) -> None:
    old = tiny_bundle(tmp_path / "out")
    with pytest.raises(UsageError, match="--overwrite"):
        export_run(run, shapes, old.folder)
    assert open_bundle(old.folder) == old
    export_run(run, shapes, old.folder, version="4.0", target_accuracy=0.3, overwrite=True)
    assert open_bundle(old.folder).spec.version == "4.0"


def test_a_folder_that_is_no_run_is_named(shapes: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not a run folder"):
        export_run(tmp_path, shapes, tmp_path / "out")


def test_another_data_set_is_refused(run: Path, shapes: Dataset, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for file in run.glob("*"):
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    config["labels"] = [*config["labels"][:-1], "delight"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="delight"):
        export_run(copy, shapes, tmp_path / "out")


def test_other_backends_are_told_which_one_exports(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = inference_model(run)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ExportError, match="KERAS_BACKEND=tensorflow"):
        to_onnx(model)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"model.family": "face", "model.options": {"side": 31, "blocks": 2}}, id="face"),
        pytest.param({"model.options": {"side": 36, "widths": [4, 8], "depths": [1, 1]}}, id="compact"),
        pytest.param({"model.family": "transfer", "model.options": {"backbone": "mobilenet_v2", "side": 33}}, id="transfer"),
    ],
)
def test_networks_that_enlarge_the_chip_export_with_their_norms_at_rest(options: dict[str, Any]) -> None:
    trained, rng = build_model(tiny_recipe(**options), 7), np.random.default_rng(0)
    for layer in trained.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([np.abs(values + rng.normal(0, 0.3, values.shape)) for values in layer.get_weights()])
    model = keras.Model(trained.input, keras.layers.Identity(name="logits")(trained.output["emotion"]))
    chips = rng.integers(0, 256, (8, SIDE, SIDE, 1)).astype(np.float32)
    session = onnxruntime.InferenceSession(to_onnx(model))
    source = keras.ops.convert_to_numpy(model(chips, training=False))
    np.testing.assert_allclose(session.run(None, {"chips": chips})[0], source, atol=1e-3 * np.abs(source).max())
