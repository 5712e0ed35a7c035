import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from mien.bundles import open_bundle, put_in_place, shipped, weights_dir, write_bundle
from mien.classify import Classifier
from mien.contract import InputSpec
from mien.errors import BundleError
from tests.support import tiny_bundle


def test_a_written_bundle_opens(tmp_path):
    written = tiny_bundle(tmp_path / "b", temperature=1.5)
    assert open_bundle(tmp_path / "b").spec == written.spec
    assert written.metrics() is None


def test_a_bundle_takes_the_place_of_another(tmp_path):
    tiny_bundle(tmp_path / "b", temperature=1.5)
    (tmp_path / "b" / "notes.txt").write_text("of the first one")
    draft = tiny_bundle(tmp_path / "draft", temperature=2.5)
    put_in_place(draft.folder, tmp_path / "b")
    put_in_place(draft.folder, tmp_path / "deep" / "down" / "c")
    assert open_bundle(tmp_path / "b").spec.temperature == open_bundle(tmp_path / "deep/down/c").spec.temperature == 2.5
    assert sorted(f.name for f in tmp_path.iterdir()) == ["b", "deep", "draft"]
    assert not (tmp_path / "b" / "notes.txt").exists()


def test_a_bundle_that_cannot_be_copied_leaves_the_one_in_its_place(tmp_path):
    tiny_bundle(tmp_path / "b", temperature=1.5)
    draft = tiny_bundle(tmp_path / "draft", temperature=2.5)
    (draft.folder / "card.md").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="card"):
        put_in_place(draft.folder, tmp_path / "b")
    assert open_bundle(tmp_path / "b").spec.temperature == 1.5
    assert sorted(f.name for f in tmp_path.iterdir()) == ["b", "draft"]


def test_the_default_is_shipped_whole():
    assert shipped() == ("default", "fer2013", "ferplus", "nano")
    bundle = open_bundle()
    assert {f.name for f in bundle.folder.iterdir()} >= {"model.onnx", "spec.json", "metrics.json", "card.md"}
    assert sum(f.stat().st_size for f in bundle.folder.iterdir()) < 12e6
    assert bundle.metrics()


def test_models_of_one_network_carry_its_weights_once():
    files = {name: open_bundle(name).model_path for name in ("default", "fer2013", "ferplus")}
    assert len(set(files.values())) == 1
    answers = [Classifier(open_bundle(name)).spec for name in files]
    assert [len(spec.labels) for spec in answers] == [7, 7, 8]
    assert [spec.labelled_by for spec in answers] == ["ferplus", "fer2013", "ferplus"]


def test_a_bundle_answers_by_the_output_and_with_the_file_that_its_spec_names(tmp_path: Path):
    whole = tiny_bundle(tmp_path / "a", labels=("x", "y", "z"))
    graph = onnx.load(whole.model_path)
    (answer,) = graph.graph.output
    graph.graph.node.append(helper.make_node("Neg", [answer.name], ["mirror"]))
    graph.graph.output.append(helper.make_tensor_value_info("mirror", onnx.TensorProto.FLOAT, ["n", 3]))
    spec = whole.spec.updated(output_name=answer.name)
    one = write_bundle(tmp_path / "a", graph.SerializeToString(), spec)
    other = write_bundle(tmp_path / "b", None, spec.updated(name="b", weights_of="a", output_name="mirror"))
    chips = np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    assert np.array_equal(Classifier(open_bundle(one.folder)).logits(chips), -Classifier(open_bundle(other.folder)).logits(chips))

    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked").symlink_to(tmp_path / "b")
    assert Classifier(open_bundle(tmp_path / "elsewhere" / "linked")).logits(chips).shape == (4, 3)

    (tmp_path / "a" / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"weights are those of the bundle 'a' beside it.*mien export b --out"):
        open_bundle(tmp_path / "b")


@pytest.mark.parametrize("name", ["../default", "/etc", "a\\b", ".."])
def test_a_spec_names_no_file_outside_of_its_own_folder(name):
    with pytest.raises(BundleError, match="weights_of must be the name of a folder beside this one"):
        InputSpec("x", "1", weights_of=name)


def test_a_bundle_of_version_0_1_answers_as_it_did():
    golden = Path(__file__).parent / "golden"
    told = json.loads((golden / "bundle_0_1.json").read_text(encoding="utf-8"))
    classifier = Classifier(open_bundle(golden / "bundle_0_1"))
    chips = np.stack([np.full((48, 48), level, np.uint8) for level in told["grey"]])
    assert classifier.logits(chips) == pytest.approx(np.array(told["logits"]), abs=1e-5)
    assert classifier.probabilities(chips) == pytest.approx(np.array(told["probabilities"]), abs=1e-7)
    assert InputSpec.read(golden / "bundle_0_1" / "spec.json").to_json() == (golden / "bundle_0_1" / "spec.json").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda f: (f / "model.onnx").write_bytes(b"x" * 99), "not the file that spec.json describes", id="weights-replaced"),
        pytest.param(lambda f: (f / "model.onnx").unlink(), "no model.onnx", id="weights-missing"),
        pytest.param(lambda f: (f / "spec.json").unlink(), "no spec.json", id="spec-missing"),
        pytest.param(lambda f: (f / "spec.json").write_text("{}"), "lacks", id="spec-empty"),
    ],
)
def test_a_damaged_bundle_is_refused(tmp_path, damage, message):
    tiny_bundle(tmp_path)
    damage(tmp_path)
    with pytest.raises(BundleError, match=message):
        open_bundle(tmp_path)


def test_a_folder_of_a_shipped_name_counts_only_if_it_is_a_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()
    assert open_bundle("default").folder == weights_dir() / "default"
    tiny_bundle(tmp_path / "default")
    assert open_bundle("default").spec.name == "tiny"


@pytest.mark.parametrize("name", ["no-such-model", "", "../default"])
def test_an_unknown_name_lists_the_known_ones(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"shipped models: .*default" if name else "spec.json|shipped"):
        open_bundle(name)


@pytest.mark.parametrize("name", ["model.onnx", "spec.json"])
def test_a_file_of_a_bundle_stands_for_it(tmp_path, name):
    bundle = tiny_bundle(tmp_path / "mine")
    assert open_bundle(bundle.folder / name) == bundle


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("net.keras", r"mien ensemble .*net\.keras --data FOLDER --out BUNDLE", id="keras"),
        pytest.param("net.h5", r"load_model\('net\.h5'\)\.save\('model\.keras'\)", id="the old format of Keras"),
        pytest.param("net.onnx", r"into a folder as model\.onnx, with a spec\.json", id="onnx"),
        pytest.param("net.pth", "mien export RUN --out BUNDLE", id="anything else"),
    ],
)
def test_a_model_file_that_is_no_bundle_is_told_how_to_become_one(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(BundleError, match=words):
        open_bundle(tmp_path / name)


@pytest.mark.parametrize("label", ["score", "top", "source", "nose_x", "smoothed_happy"])
def test_a_label_may_not_be_called_like_a_column(tmp_path, label):
    folder = tiny_bundle(tmp_path / "mine").folder
    spec = json.loads((folder / "spec.json").read_text())
    spec["labels"] = ["happy", *[f"label {i}" for i in range(len(spec["labels"]) - 2)], label]
    (folder / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(BundleError, match=f"labels must differ from the columns of the results, got '{label}'"):
        open_bundle(folder)
