"""Reads the convolutions in a network file of dlib without dlib. Each layer is a name, one tensor of parameters, and its numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import RecipeError

_TENSOR_VERSION = 2
_LAYERS = re.compile(rb"con_4|affine_")


@dataclass(frozen=True)
class Convolution:
    """A convolution and its affine map per channel: ``kernel`` (height, width, in, out); ``bias``, ``gamma`` and ``beta`` (out,)."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]


def read_convolutions(file: Path) -> list[Convolution]:
    """Return the convolutions of a ``.dat`` network whose batch norms are stored as affine maps, in the order of the data flow.

    Raises:
        RecipeError: the file is not such a network, or it is truncated.
    """
    try:
        data = file.read_bytes()
        found = [(match.group(), *_tensor(data, match.end())) for match in _LAYERS.finditer(data)]
        if not found or len(found) % 2:
            raise ValueError(f"it holds {len(found)} convolutions and affine maps")
        return [_convolution(data, first, second) for first, second in zip(found[::2], found[1::2], strict=True)]
    except (OSError, ValueError, IndexError) as error:
        raise RecipeError(f"{file} is not a dlib network of convolutions and affine maps: {error}") from None


_Layer = tuple[bytes, NDArray[np.float32], int]


def _convolution(data: bytes, first: _Layer, second: _Layer) -> Convolution:
    if (first[0], second[0]) != (b"con_4", b"affine_"):
        raise ValueError("a convolution is not followed by its affine map")
    _, values, at = first
    out, at = _integer(data, at)
    height, at = _integer(data, at)
    width, _ = _integer(data, at)
    kernel = values[:-out].reshape(out, -1, height, width)
    gamma, beta = second[1].reshape(2, out)
    return Convolution(np.transpose(kernel, (2, 3, 1, 0)).copy(), values[-out:].copy(), gamma.copy(), beta.copy())


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Return (value, position of the next value). A byte holds the sign bit and the number of bytes; the bytes follow, lowest first."""
    count = data[at] & 0x0F
    value = int.from_bytes(data[at + 1 : at + 1 + count], "little")
    return (-value if data[at] & 0x80 else value), at + 1 + count


def _tensor(data: bytes, at: int) -> tuple[NDArray[np.float32], int]:
    version, at = _integer(data, at)
    if version != _TENSOR_VERSION:
        raise ValueError(f"a tensor is of version {version}; expected {_TENSOR_VERSION}")
    count = 1
    for _ in range(4):
        size, at = _integer(data, at)
        count *= size
    return np.frombuffer(data, "<f4", count, at), at + 4 * count
