from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from mien.errors import RecipeError
from mien.train.models import faceres
from mien.train.models.tfjs_file import read_tensors
from tests.train.shapes import SIDE

CHIPS = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE), dtype=np.uint8)
SHAPES = {
    "conv1/convolution/merged_input": (3, 3, 3, 32),
    "conv1_bn/batchnorm_1/sub": (32,),
    "conv_dw_1/depthwise_kernel": (3, 3, 32, 1),
    "conv_dw_1_bn/batchnorm_1/mul": (32,),
    "conv_dw_1_bn/batchnorm_1/sub": (32,),
    "conv_pw_1/convolution/merged_input": (1, 1, 32, 64),
    "conv_pw_1_bn/batchnorm_1/sub": (64,),
}


@pytest.fixture
def donor() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return {name: rng.normal(0.1, 0.2, shape).astype(np.float32) for name, shape in SHAPES.items()}


def write(tensors: dict[str, NDArray[np.float32]], folder: Path, **changes: Any) -> Path:
    """Write tensors as TensorFlow.js does, and return the JSON file."""
    (folder / "weights.bin").write_bytes(b"".join(values.astype("<f4").tobytes() for values in tensors.values()))
    weights = [{"name": name, "shape": list(values.shape), "dtype": "float32", **changes} for name, values in tensors.items()]
    file = folder / "faceres-deep.json"
    file.write_text(json.dumps({"weightsManifest": [{"paths": ["weights.bin"], "weights": weights}]}))
    return file


def test_tensors_come_back_as_they_were_written(donor: dict[str, NDArray[np.float32]], tmp_path: Path) -> None:
    read = read_tensors(write(donor, tmp_path))
    assert list(read) == list(donor)
    for name, values in donor.items():
        np.testing.assert_array_equal(read[name], values)


def test_a_loaded_network_is_the_donors_function_with_norms_that_fit_the_chips(
    donor: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    model = faceres.build(SIDE, 1, side=32, blocks=1)
    faceres.load_weights(model, str(write(donor, tmp_path)), chips=CHIPS)
    chips = CHIPS[..., None].astype(np.float32)
    for name in ("conv1", "conv_dw_1", "conv_pw_1"):
        norm = model.get_layer(f"{name}_bn")
        both = keras.Model(model.input, [model.get_layer(name).output, norm.output])
        before, after = (keras.ops.convert_to_numpy(out) for out in both(chips, training=False))
        scale = donor.get(f"{name}_bn/batchnorm_1/mul", np.float32(1))
        np.testing.assert_allclose(after, scale * before + donor[f"{name}_bn/batchnorm_1/sub"], atol=1e-3)
        np.testing.assert_allclose(np.asarray(norm.moving_mean), before.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(lambda folder: (folder / "weights.bin").write_bytes(b"\0" * 40), "too short", id="binary file cut off"),
        pytest.param(lambda folder: (folder / "weights.bin").unlink(), "with its files beside it", id="binary file missing"),
        pytest.param(lambda folder: (folder / "faceres-deep.json").write_text("{}"), "not a TensorFlow.js model", id="another JSON file"),
    ],
)
def test_what_is_not_such_a_model_is_refused(spoil: Any, said: str, donor: dict[str, NDArray[np.float32]], tmp_path: Path) -> None:
    file = write(donor, tmp_path)
    spoil(tmp_path)
    with pytest.raises(RecipeError, match=said):
        read_tensors(file)


def test_quantised_weights_are_refused(donor: dict[str, NDArray[np.float32]], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="quantised weights"):
        read_tensors(write(donor, tmp_path, quantization={"scale": 1}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"conv_pw_1_bn/batchnorm_1/sub": None}, "has no tensor", id="a tensor is missing"),
        pytest.param({"conv_dw_1/depthwise_kernel": (3, 3, 16, 1)}, r"takes \(3, 3, 32, 1\)", id="another shape"),
    ],
)
def test_weights_of_another_network_are_refused(
    change: dict[str, Any], said: str, donor: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    for name, shape in change.items():
        if shape is None:
            del donor[name]
        else:
            donor[name] = np.zeros(shape, np.float32)
    with pytest.raises(RecipeError, match=said):
        faceres.load_weights(faceres.build(SIDE, 1, side=32, blocks=1), str(write(donor, tmp_path)), chips=CHIPS)
