"""Reads the weights of a TensorFlow.js model: a JSON file names the tensors, and binary files in the same folder hold them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import RecipeError


def read_tensors(file: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float32 tensors of a TensorFlow.js model by name, in the shapes that the file states.

    The format is the weights manifest of TensorFlow.js. It lists groups of tensors; the bytes of a group are continuous over its files,
    without gaps. Tensors of other types are left out.

    Args:
        file: the ``.json`` file; the binary files that it names must be in the same folder.

    Raises:
        RecipeError: the file is not such a model, its weights are quantised, or binary files are missing or too short.
    """
    try:
        groups = json.loads(file.read_text(encoding="utf-8"))["weightsManifest"]
        tensors: dict[str, NDArray[np.float32]] = {}
        for group in groups:
            data = b"".join((file.parent / path).read_bytes() for path in group["paths"])
            at = 0
            for weight in group["weights"]:
                if "quantization" in weight:
                    raise RecipeError(f"{file} has quantised weights ({weight['name']}); expected float32")
                count = int(np.prod(weight["shape"], dtype=np.int64))
                size = count * np.dtype(weight["dtype"]).itemsize
                if at + size > len(data):
                    raise RecipeError(f"the binary files beside {file} are too short for {weight['name']}")
                if weight["dtype"] == "float32":
                    tensors[weight["name"]] = np.frombuffer(data, "<f4", count, at).reshape(weight["shape"])
                at += size
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{file} is not a TensorFlow.js model with its files beside it: {error!r}") from error
    return tensors
