"""The Keras sources in models/ are the networks behind the shipped models, and tools/ puts them there."""

import json

import keras
import numpy as np
import pytest

from mien.bundles import open_bundle
from mien.classify import Classifier, softmax
from mien.errors import UsageError
from mien.train.loop.batches import to_input
from mien.train.loop.checkpoint import load_state
from mien.train.loop.fit import fit
from mien.train.loop.run_folder import CHECKPOINT, read_history, write_history, write_json
from mien.train.loop.trained import inference_model
from mien.train.loop.weight_average import average_weights
from mien.train.models import build_model
from tests.train.shapes import tiny_recipe
from tools.keep import keep
from tools.ship import histories, write_source
from tools.ship import main as ship
from tools.sources import MODELS


def test_the_source_and_the_shipped_graph_answer_alike():
    chips = np.random.default_rng(0).integers(0, 256, (32, 48, 48), dtype=np.uint8)
    source = keras.saving.load_model(MODELS / "emotion_recognition.keras")
    both = [keras.ops.convert_to_numpy(source(to_input(side), training=False)) for side in (chips, chips[:, :, ::-1])]
    assert np.mean(both, axis=0) == pytest.approx(Classifier(open_bundle()).logits(chips), abs=1e-2)  # the source's weights are in float16


def test_the_small_source_and_its_graph_answer_alike():
    chips = np.random.default_rng(0).integers(0, 256, (32, 48, 48), dtype=np.uint8)
    source = keras.saving.load_model(MODELS / "nano.keras")
    assert source.count_params() <= 300_000
    answers = keras.ops.convert_to_numpy(source(to_input(chips), training=False))
    assert answers == pytest.approx(Classifier(open_bundle("nano")).logits(chips), abs=1e-2)  # float16, rounded with and without the norms


def test_a_saved_source_has_the_weights_of_float16_and_opens_with_keras_alone(tmp_path):
    model = build_model(tiny_recipe(), 7)
    single = keras.Model(model.input, model.get_layer("emotion").output)
    write_source(single, tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    for one, other in zip(single.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(other, other.astype(np.float16).astype(np.float32))


def test_a_run_that_began_with_another_network_continues_its_history(tmp_path):
    rows = [{"epoch": epoch, "loss": 1 / epoch, "val_accuracy": 0.5} for epoch in (1, 2)]
    write_history(tmp_path, rows)
    histories([tmp_path], "nano", tmp_path / "history.json", folder=tmp_path)
    told = json.loads((tmp_path / "nano_history.json").read_text(encoding="utf-8"))
    assert [row["epoch"] for row in told] == [1, 2, 3, 4]
    assert [row["loss"] for row in told] == [1, 0.5, 1, 0.5]
    assert (tmp_path / "nano_history.csv").read_text(encoding="utf-8").splitlines()[-1].startswith("4,")


def test_a_kept_network_answers_as_its_run_does_and_brings_its_history(tmp_path, shapes):
    recipe = tiny_recipe(epochs=2)
    fit(recipe, shapes, tmp_path / "run")
    file = keep(tmp_path / "run", tmp_path / "members")
    assert file.name == "tiny_0.keras"
    with pytest.raises(UsageError, match="is there already"):
        keep(tmp_path / "run", tmp_path / "members")
    chips = to_input(shapes.images[:8])
    answers = [
        keras.ops.convert_to_numpy(net(chips, training=False)) for net in (keras.saving.load_model(file), inference_model(tmp_path / "run"))
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-2)
    state = load_state(tmp_path / "run" / CHECKPOINT)
    trained = build_model(recipe, len(shapes.label_names))
    trained.set_weights(state.average)
    other = keras.saving.load_model(keep(tmp_path / "run", tmp_path / "others", last=True))
    assert keras.ops.convert_to_numpy(other(chips, training=False)) == pytest.approx(
        keras.ops.convert_to_numpy(trained(chips, training=False)["emotion"]), abs=1e-2
    )
    histories([file, file], "default", folder=tmp_path)
    told = json.loads((tmp_path / "training_history.json").read_text(encoding="utf-8"))
    assert [(row["member"], row["epoch"]) for row in told] == 2 * [("tiny_0", 1), ("tiny_0", 2)]


def test_an_ensemble_tells_the_history_of_every_member(tmp_path):
    rows = [{"epoch": epoch, "loss": 1 / epoch} for epoch in (1, 2)]
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        write_history(tmp_path / run, rows)
        for name, values in (("config", {"recipe": {"name": run}}), ("environment", {})):
            write_json(tmp_path / run / f"{name}.json", values)
    write_json(tmp_path / "training_history.json", rows[:1])
    histories([tmp_path / "emotion_recognition.keras", tmp_path / "a"], "default", folder=tmp_path)
    histories([tmp_path / "emotion_recognition.keras", tmp_path / "b"], "default", folder=tmp_path)
    told = json.loads((tmp_path / "training_history.json").read_text(encoding="utf-8"))
    assert [(row["member"], row["epoch"]) for row in told] == [("emotion_recognition", 1), ("a", 1), ("a", 2), ("b", 1), ("b", 2)]


def test_what_is_shipped_answers_as_its_source_does(tmp_path, shapes, monkeypatch):
    for seed in (0, 1):
        fit(tiny_recipe(**{"seed": seed, "model.options.widths": [32, 64]}), shapes, tmp_path / f"run{seed}")  # weights outweigh the graph
    for place in ("weights", "models"):
        (tmp_path / place).mkdir()
    monkeypatch.setattr("tools.ship.weights_dir", lambda: tmp_path / "weights")
    monkeypatch.setattr("tools.ship.MODELS", tmp_path / "models")
    monkeypatch.setattr("sys.argv", ["ship", "default", *(str(tmp_path / f"run{i}") for i in (0, 1)), "--data", str(shapes.root)])
    ship()
    bundle = open_bundle(tmp_path / "weights/default")
    assert (bundle.spec.name, bundle.spec.format) == ("default", "onnx-fp16")
    source = keras.saving.load_model(tmp_path / "models/emotion_recognition.keras")
    chips = shapes.images[shapes.rows("private")]
    answers = softmax(keras.ops.convert_to_numpy(source(to_input(chips), training=False)))
    assert answers == pytest.approx(softmax(Classifier(bundle).logits(chips)), abs=5e-3)
    assert float((answers.argmax(1) == shapes.labels[shapes.rows("private")]).mean()) > 0.5  # chance is 0.14
    told = json.loads((tmp_path / "models/training_history.json").read_text(encoding="utf-8"))
    assert len(told) == 2 * len(read_history(tmp_path / "run0"))


def test_a_kept_network_is_shipped_by_its_recipe(tmp_path, shapes, monkeypatch):
    recipe = tiny_recipe(**{"flip_average": True, "model.options.widths": [32, 64]})
    run = tmp_path / "run"
    fit(recipe, shapes, run)
    file = keep(run, tmp_path / "members")
    for place in ("weights", "models"):
        (tmp_path / place).mkdir()
    monkeypatch.setattr("tools.ship.weights_dir", lambda: tmp_path / "weights")
    monkeypatch.setattr("tools.ship.MODELS", tmp_path / "models")
    toml = tmp_path / "tiny.toml"
    toml.write_text(f"size = {recipe.size}\nflip_average = true\n", encoding="utf-8")
    given = ["ship", "default", str(file), "--data", str(shapes.root)]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit):
        ship()
    monkeypatch.setattr("sys.argv", [*given, "--recipe", str(toml)])
    ship()

    bundle = open_bundle(tmp_path / "weights/default")
    assert (bundle.spec.name, bundle.spec.labels) == ("tiny", shapes.label_names)
    chips = shapes.images[shapes.rows("private")]
    of_the_run = keras.ops.convert_to_numpy(inference_model(run)(to_input(chips), training=False))  # with the mirror image
    assert Classifier(bundle).logits(chips) == pytest.approx(of_the_run, abs=2e-2)
    core = keras.saving.load_model(tmp_path / "models/emotion_recognition.keras")
    both = [keras.ops.convert_to_numpy(core(to_input(view), training=False)) for view in (chips, chips[:, :, ::-1])]
    assert np.mean(both, axis=0) == pytest.approx(of_the_run, abs=2e-2)
    told = json.loads((tmp_path / "models/training_history.json").read_text(encoding="utf-8"))
    assert told == read_history(run)


def test_the_history_has_every_epoch():
    rows = json.loads((MODELS / "training_history.json").read_text(encoding="utf-8"))
    for member in {row["member"] for row in rows}:
        epochs = [row["epoch"] for row in rows if row["member"] == member]
        assert epochs == list(range(1, len(epochs) + 1))
    assert max(row["val_accuracy"] for row in rows) > 0.7


def test_a_mean_of_weights_is_shipped_with_both_histories(tmp_path, shapes):
    for name in ("a", "b"):
        fit(tiny_recipe(epochs=1, seed=ord(name)), shapes, tmp_path / name)
    average_weights([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    a, b, c = (inference_model(tmp_path / name).get_weights() for name in "abc")
    for one, other, mean in zip(a, b, c, strict=True):
        assert mean == pytest.approx((one + other) / 2, abs=1e-6)
    (tmp_path / "first").mkdir()
    write_json(tmp_path / "first/history.json", read_history(tmp_path / "a"))
    histories([tmp_path / "c"], "default", tmp_path / "first/history.json", folder=tmp_path)
    told = json.loads((tmp_path / "training_history.json").read_text(encoding="utf-8"))
    assert [(row["member"], row["epoch"]) for row in told] == [("first", 1), ("a", 1), ("b", 1)]
