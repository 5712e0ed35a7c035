from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from mien.errors import RecipeError
from mien.train.models import build_model, face
from mien.train.models.dlib_file import Convolution, read_convolutions
from tests.train.shapes import SIDE, tiny_recipe

CHIPS = np.random.default_rng(0).integers(0, 256, (32, SIDE, SIDE), dtype=np.uint8)


def integer(value: int) -> bytes:
    size = max(1, (value.bit_length() + 7) // 8)
    return bytes([size]) + value.to_bytes(size, "little")


def tensor(values: NDArray[Any]) -> bytes:
    shape = b"".join(integer(size) for size in (values.size, 1, 1, 1))
    return integer(2) + shape + values.astype("<f4").tobytes()


def encode(convolution: Convolution) -> bytes:
    height, width, _, out = convolution.kernel.shape
    kernel = np.transpose(convolution.kernel, (3, 2, 0, 1)).ravel()
    numbers = b"".join(integer(value) for value in (out, height, width, 1, 1, 0, 0))
    affine = np.concatenate([convolution.gamma, convolution.beta])
    return b"\x04con_4" + tensor(np.concatenate([kernel, convolution.bias])) + numbers + b"\x07affine_" + tensor(affine)


def convolutions(*shapes: tuple[int, int, int, int]) -> list[Convolution]:
    rng = np.random.default_rng(1)
    made = [Convolution(rng.normal(0, 0.05, shape), *rng.normal(0.5, 0.2, (3, shape[-1]))) for shape in shapes]
    return [Convolution(*(np.float32(part) for part in (c.kernel, c.bias, c.gamma, c.beta))) for c in made]


@pytest.fixture
def donors() -> list[Convolution]:
    return convolutions((7, 7, 3, 32), (3, 3, 32, 32), (3, 3, 32, 32))


@pytest.fixture
def file(donors: list[Convolution], tmp_path: Path) -> Path:
    path = tmp_path / "network.dat"
    path.write_bytes(b"\x01\x02preamble" + b"".join(encode(donor) for donor in donors))
    return path


def test_convolutions_come_back_as_they_were_written(donors: list[Convolution], file: Path) -> None:
    for read, written in zip(read_convolutions(file), donors, strict=True):
        for name in ("kernel", "bias", "gamma", "beta"):
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))


def test_a_loaded_network_is_the_donors_function_with_norms_that_fit_the_chips(donors: list[Convolution], file: Path) -> None:
    model = face.build(SIDE, 1, side=31, blocks=1)
    face.load_weights(model, str(file), chips=CHIPS)
    for donor, name in zip(donors, ("stem", "block0_a", "block0_b"), strict=True):
        both = keras.Model(model.input, [model.get_layer(name).output, model.get_layer(f"{name}_norm").output])
        before, after = (np.asarray(out) for out in both(CHIPS[..., None].astype(np.float32), training=False))
        np.testing.assert_allclose(after, (before + donor.bias) * donor.gamma + donor.beta, atol=1e-4)
        norm = model.get_layer(f"{name}_norm")
        np.testing.assert_allclose(norm.moving_mean, before.mean((0, 1, 2)), atol=1e-4)
        np.testing.assert_allclose(norm.moving_variance, before.var((0, 1, 2)), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("side", [31, 37, 48])
def test_every_depth_builds_on_sides_that_halve_evenly_and_on_sides_that_do_not(side: int) -> None:
    trunk = face.build(SIDE, 1, side=side, blocks=8)
    assert trunk.output.shape == (None, 128)
    features = keras.ops.convert_to_numpy(trunk(CHIPS[:2, ..., None].astype(np.float32)))
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "holds 0", id="empty"),
        pytest.param(encode(convolutions((3, 3, 1, 4))[0])[:60], "not a dlib network", id="cut short"),
        pytest.param(encode(convolutions((3, 3, 3, 32))[0]), "the file 1", id="too few layers"),
        pytest.param(b"".join(map(encode, convolutions((5, 5, 3, 32), (3, 3, 32, 32), (3, 3, 32, 32)))), "stem takes", id="another stem"),
    ],
)
def test_a_file_that_does_not_fit(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "other.dat").write_bytes(content)
    with pytest.raises(RecipeError, match=says):
        face.load_weights(face.build(SIDE, 1, side=31, blocks=1), str(tmp_path / "other.dat"), chips=CHIPS)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(RecipeError, match="no file at /nowhere"):
        face.load_weights(face.build(SIDE, 1, side=31, blocks=1), "/nowhere.dat", chips=CHIPS)


@pytest.mark.parametrize(("changes", "says"), [({"channels": 3}, "1 channel"), ({"model.options": {"blocks": 15}}, "1 to 14 blocks")])
def test_a_network_that_cannot_be_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        build_model(tiny_recipe(**{"model.family": "face", "model.options": {}, **changes}), 7)
