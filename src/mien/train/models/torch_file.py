"""Reads the arrays in a PyTorch checkpoint of plain tensors. It needs no PyTorch and runs no code from the file."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mien.errors import RecipeError

_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
_LEGACY_HEADERS = 3  # magic number, protocol version, description of the machine


def read_state_dict(file: Path) -> dict[str, NDArray[Any]]:
    """Return name -> array of a ``.pth`` state dict, in the file's order.

    It reads both containers: the zip archive that torch.save writes since 1.6, and the pickle stream of earlier versions.

    Raises:
        RecipeError: the file is not a state dict, or it holds other objects than tensors.
    """
    try:
        tensors = _read_zip(file) if zipfile.is_zipfile(file) else _read_stream(file)
    except (OSError, EOFError, KeyError, ValueError, AttributeError, TypeError, pickle.UnpicklingError) as error:
        raise RecipeError(f"{file} is not a PyTorch state dict of plain tensors: {error}") from None
    return {name: tensor.array() for name, tensor in tensors.items()}


class _Storage:
    def __init__(self, dtype: type) -> None:
        self.dtype = np.dtype(dtype)
        self.data = b""


class _Tensor:
    """A view into a storage. The storage may be read after the view."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> None:
        self._storage, self._offset, self._shape, self._strides = storage, offset, shape, strides

    def array(self) -> NDArray[Any]:
        flat = np.frombuffer(self._storage.data, self._storage.dtype)
        if any(size == 0 for size in self._shape):
            return np.zeros(self._shape, flat.dtype)
        last = self._offset + sum((size - 1) * stride for size, stride in zip(self._shape, self._strides, strict=True))
        if min(self._strides, default=0) < 0 or math.prod(self._shape) > len(flat) or not 0 <= self._offset <= last < len(flat):
            raise RecipeError("a PyTorch tensor lies outside its storage; the file is damaged")
        strides = [stride * flat.itemsize for stride in self._strides]
        return np.lib.stride_tricks.as_strided(flat[self._offset :], self._shape, strides).copy()


class _Unpickler(pickle.Unpickler):
    """Accepts tensors, storages and ordered dicts, and refuses every other name."""

    def __init__(self, stream: BinaryIO | io.BytesIO, storages: dict[str, _Storage]) -> None:
        super().__init__(stream)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")

    def persistent_load(self, reference: Any) -> _Storage:
        _, dtype, key, *_ = reference
        return self._storages.setdefault(key, _Storage(dtype))


def _read_zip(file: Path) -> dict[str, _Tensor]:
    storages: dict[str, _Storage] = {}
    with zipfile.ZipFile(file) as archive:
        index = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if index is None:
            raise RecipeError(f"{file} is not a PyTorch state dict, but a zip archive without tensors")
        tensors: dict[str, _Tensor] = _Unpickler(io.BytesIO(archive.read(index)), storages).load()
        for key, storage in storages.items():
            storage.data = archive.read(f"{index.removesuffix('.pkl')}/{key}")
    return tensors


def _read_stream(file: Path) -> dict[str, _Tensor]:
    storages: dict[str, _Storage] = {}
    with file.open("rb") as stream:
        load: Callable[[], Any] = lambda: _Unpickler(stream, storages).load()  # noqa: E731
        for _ in range(_LEGACY_HEADERS):
            load()
        tensors: dict[str, _Tensor] = load()
        for key in load():
            count = int.from_bytes(stream.read(8), "little")
            storages[key].data = stream.read(count * storages[key].dtype.itemsize)
    return tensors
