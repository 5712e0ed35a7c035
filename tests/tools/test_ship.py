"""The Keras sources in models/ are the networks behind the shipped models, and tools/ puts them there."""

import json

import keras
import numpy as np
import pytest

from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.errors import UsageError
from mien.train.data.dataset import Dataset, load
from mien.train.data.splits import Split
from mien.train.loop.batches import to_input
from mien.train.loop.checkpoint import load_state
from mien.train.loop.fit import fit
from mien.train.loop.run_folder import CHECKPOINT, read_history, write_history, write_json
from mien.train.loop.trained import inference_model
from mien.train.loop.weight_average import average_weights
from mien.train.models import build_model, head_of
from tests.train.made_up import votes
from tests.train.shapes import SIDE, tiny_recipe
from tools.keep import keep
from tools.ship import histories, write_source
from tools.ship import main as ship
from tools.sources import MODELS


@pytest.mark.parametrize("name", ["default", "fer2013", "ferplus"])
def test_the_source_and_the_shipped_graph_answer_alike(name):
    chips = np.random.default_rng(0).integers(0, 256, (32, 48, 48), dtype=np.uint8)
    source = keras.saving.load_model(MODELS / "emotion_recognition.keras")
    both = [keras.ops.convert_to_numpy(source(to_input(side), training=False)[name]) for side in (chips, chips[:, :, ::-1])]
    wanted = np.mean(both, axis=0)
    assert wanted == pytest.approx(Classifier(open_bundle(name)).logits(chips), abs=3e-2)  # the source's weights are in float16


def test_the_small_source_and_its_graph_answer_alike():
    chips = np.random.default_rng(0).integers(0, 256, (32, 48, 48), dtype=np.uint8)
    source = keras.saving.load_model(MODELS / "nano.keras")
    assert source.count_params() <= 300_000
    answers = keras.ops.convert_to_numpy(source(to_input(chips), training=False)["default"])
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
        keras.ops.convert_to_numpy(net(chips, training=False))
        for net in (head_of(keras.saving.load_model(file), "emotion"), inference_model(tmp_path / "run"))
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-2)
    state = load_state(tmp_path / "run" / CHECKPOINT)
    trained = build_model(recipe, len(shapes.label_names))
    trained.set_weights(state.average)
    other = keras.saving.load_model(keep(tmp_path / "run", tmp_path / "others", last=True))
    assert keras.ops.convert_to_numpy(other(chips, training=False)["emotion"]) == pytest.approx(
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


@pytest.fixture
def shipping(tmp_path, shapes, monkeypatch):
    """Return a call of the program with a folder of its own for what it writes; photos are the shapes of PublicTest."""
    for place in ("weights", "models"):
        (tmp_path / place).mkdir()
    monkeypatch.setattr("tools.ship.MODELS", tmp_path / "models")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    public = shapes.rows("public")
    photos = Dataset(
        tmp_path, shapes.images[public], shapes.labels[public], shapes.splits[public], ("x",) * len(public), shapes.label_names
    )
    split = Split("photos", "photos", np.arange(len(public)), shapes.labels[public], shapes.label_names)
    monkeypatch.setattr("tools.ship.labelled_photos", lambda *_: (photos, split))  # drawn shapes have no face to detect
    file = votes(shapes.root, tmp_path / "votes.csv")

    def run(*words):
        given = ["--data", str(shapes.root), "--votes", str(file), "--photos", "photos", "--out", str(tmp_path / "weights")]
        monkeypatch.setattr("sys.argv", ["ship", *map(str, words), *given])
        ship()

    return run


def test_a_run_and_the_network_kept_of_it_are_shipped_alike(tmp_path, shapes, shipping):
    recipe = tiny_recipe(**{"flip_average": True, "loss": {"votes_weight": 1.0}, "model.options.widths": [32, 64]})
    run = tmp_path / "run"
    data = load(shapes.root, size=SIDE, votes=tmp_path / "votes.csv", cache=tmp_path / "cache")
    fit(recipe, data, run)
    shipping("default", run)
    chips = shapes.images[shapes.rows("private")]
    wanted = keras.ops.convert_to_numpy(inference_model(run)(to_input(chips), training=False))  # with the mirror image
    assert Classifier(open_bundle(tmp_path / "weights/fer2013")).logits(chips) == pytest.approx(wanted, abs=3e-2)
    assert json.loads((tmp_path / "models/training_history.json").read_text(encoding="utf-8")) == read_history(run)
    told = json.loads((tmp_path / "weights/default/operating_point.json").read_text(encoding="utf-8"))

    file = keep(run, tmp_path / "members")
    shipping("default", file, "--mirror")
    assert Classifier(open_bundle(tmp_path / "weights/fer2013")).logits(chips) == pytest.approx(wanted, abs=3e-2)
    again = json.loads((tmp_path / "weights/default/operating_point.json").read_text(encoding="utf-8"))
    assert (again["tau"], again["share"]) == pytest.approx((told["tau"], told["share"]), abs=0.11)

    source = keras.saving.load_model(tmp_path / "models/emotion_recognition.keras")
    assert sorted(source.output) == ["default", "fer2013", "ferplus"]
    shipping("default", tmp_path / "models/emotion_recognition.keras", "--mirror")  # from the source that it wrote itself
    assert Classifier(open_bundle(tmp_path / "weights/fer2013")).logits(chips) == pytest.approx(wanted, abs=3e-2)


def test_a_network_without_a_history_is_refused_before_the_work(tmp_path, shipping, capsys):
    with pytest.raises(SystemExit):
        shipping("nano", tmp_path / "alone.keras")
    assert "no history at" in capsys.readouterr().err


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
