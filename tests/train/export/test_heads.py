"""One network becomes the package's models: the weights lie once, and every answer is its Keras source's."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from mien.bundles import Bundle, open_bundle
from mien.classify import Classifier
from mien.errors import UsageError
from mien.train.data.dataset import Dataset, load
from mien.train.data.splits import Split, select
from mien.train.export.formats import convert
from mien.train.export.formats.judge import Sample
from mien.train.export.formats.litert import source_of
from mien.train.export.heads import Material, ship_heads
from mien.train.loop.batches import to_input
from mien.train.loop.fit import fit
from mien.train.loop.trained import trained_network
from mien.train.models import head_of
from tests.train.made_up import votes
from tests.train.shapes import SIDE, tiny_recipe


@pytest.fixture(scope="module")
def material(shapes_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    root = tmp_path_factory.mktemp("material")
    data = load(shapes_dir, size=SIDE, votes=votes(shapes_dir, root / "votes.csv"), cache=root / "cache")
    public = select(data, "public", data.label_names)
    photos = Dataset(root, data.images[public.rows], public.labels, np.full(len(public), "photos"), ("x",) * len(public), data.label_names)
    people = np.array([str(i % 9) for i in range(len(public))])
    return Material(data, photos, Split("photos", "photos", np.arange(len(public)), public.labels, data.label_names), people)


@pytest.fixture(scope="module")
def network(material: Material, tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    run = tmp_path_factory.mktemp("two") / "run"
    fit(tiny_recipe(**{"epochs": 3, "loss": {"votes_weight": 1.0}, "model.options.widths": [32, 64]}), material.data, run)
    return trained_network(run)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_network_with_two_heads_becomes_three_models_with_one_file(
    material: Material, network: keras.Model, tmp_path: Path, mirror: bool
) -> None:
    source, bundles, record = ship_heads(network, material, tmp_path, version="3", mirror=mirror)
    assert [bundle.spec.name for bundle in bundles] == ["default", "fer2013", "ferplus"]
    assert len({bundle.model_path for bundle in bundles}) == 1
    assert sorted(file.name for file in (tmp_path / "fer2013").iterdir()) == ["spec.json"]
    chips = np.asarray(material.data.images[:40])
    for bundle in bundles:
        core = keras.Model(source.input, source.output[bundle.spec.name])
        views = [keras.ops.convert_to_numpy(core(to_input(v))) for v in ((chips, chips[:, :, ::-1]) if mirror else (chips,))]
        assert Classifier(bundle).logits(chips) == pytest.approx(np.mean(views, axis=0), abs=0.03)
    told = json.loads((tmp_path / "default" / "operating_point.json").read_text(encoding="utf-8"))
    assert told == json.loads(json.dumps(record))
    assert len(told["cross_validated"]) == 5
    assert open_bundle(tmp_path / "ferplus").spec.labels[-1] == "contempt"


def test_an_export_of_a_shared_network_is_whole(material: Material, network: keras.Model, tmp_path: Path) -> None:
    _, bundles, _ = ship_heads(network, material, tmp_path / "weights", version="3", mirror=True)
    chips = np.asarray(material.data.images[:40])
    for bundle in bundles:
        written = convert(bundle, "onnx", tmp_path / bundle.spec.name, Sample("some", chips)).bundle
        assert (written.spec.weights_of, written.spec.output_name) == ("", "")
        assert written.model_path.parent == tmp_path / bundle.spec.name
        assert Classifier(written).logits(chips) == pytest.approx(Classifier(bundle).logits(chips), abs=1e-3)


def test_a_network_with_one_head_follows_the_rule_in_one_bundle(material: Material, network: keras.Model, tmp_path: Path) -> None:
    alone = keras.Model(network.input, network.get_layer("emotion").output)
    source, bundles, record = ship_heads(alone, material, tmp_path, model="nano", version="3", mirror=False)
    (bundle,) = bundles
    assert (bundle.spec.name, bundle.spec.output_name, bundle.spec.weights_of) == ("nano", "", "")
    assert sorted(source.output) == ["default", "fer2013"]
    chips = np.asarray(material.data.images[:40])
    moved = Classifier(bundle).logits(chips) - keras.ops.convert_to_numpy(alone(to_input(chips))) / record["own_temperature"]
    assert moved == pytest.approx(np.tile(moved[0], (40, 1)), abs=0.05)  # the same shift for every face
    with pytest.raises(UsageError, match="both heads"):
        ship_heads(alone, material, tmp_path, version="3", mirror=False)


def test_a_head_is_found_by_its_name_in_training_and_in_the_package(material: Material, network: keras.Model, tmp_path: Path) -> None:
    source, _, _ = ship_heads(network, material, tmp_path, version="3", mirror=False)
    chips = to_input(np.asarray(material.data.images[:4]))
    for head in ("emotion", "votes"):
        one, other = (keras.ops.convert_to_numpy(head_of(net, head)(chips)) for net in (network, source))
        assert one == pytest.approx(other, abs=1e-5)
    with pytest.raises(UsageError, match="no head 'age'"):
        head_of(network, "age")


def test_votes_are_needed(material: Material, network: keras.Model, shapes: Dataset, tmp_path: Path) -> None:
    without = Material(shapes, material.photos, material.photo_split, None)
    with pytest.raises(UsageError, match="--votes FILE"):
        ship_heads(network, without, tmp_path, version="3", mirror=False)


def test_an_exported_copy_finds_its_head_in_the_source_of_all(material: Material, network: keras.Model, tmp_path: Path) -> None:
    source, bundles, _ = ship_heads(network, material, tmp_path / "weights", version="3", mirror=True)
    source.save(tmp_path / "source.keras")
    chips = np.asarray(material.data.images[:40])
    for bundle in bundles:
        copy = convert(bundle, "onnx", tmp_path / bundle.spec.name, Sample("some", chips)).bundle
        found = source_of(copy, tmp_path / "source.keras", chips)
        assert keras.ops.convert_to_numpy(found(to_input(chips))) == pytest.approx(Classifier(copy).logits(chips), abs=0.03)


def test_the_shipped_small_models_and_formats_agree(tmp_path: Path) -> None:
    chips = np.random.default_rng(0).integers(0, 256, (16, 48, 48), dtype=np.uint8)
    shared: Bundle = open_bundle("fer2013")
    alone = convert(shared, "onnx-fp16", tmp_path / "fer2013", Sample("noise", chips)).bundle
    assert alone.model_path.stat().st_size < 1.01 * shared.model_path.stat().st_size
    assert Classifier(alone).logits(chips) == pytest.approx(Classifier(shared).logits(chips), abs=1e-3)
