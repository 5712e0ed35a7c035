"""LiteRT, the engine for Android and small boards. Only this file imports it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import BundleError, MissingExtraError

try:
    from ai_edge_litert.interpreter import Interpreter
except ModuleNotFoundError:
    raise MissingExtraError("ai-edge-litert", "litert") from None


class LiteRTSession:
    """A ``.tflite`` graph. A graph with fixed batch size 1 runs once per row. Calls from several threads run one after another."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Load a graph.

        Args:
            path: a ``.tflite`` file.
            threads: CPU threads for one call; every core if None.

        Raises:
            BundleError: this LiteRT cannot run the file.
        """
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads or os.cpu_count() or 1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{path} is not a model that LiteRT can run: {reason}") from None
        self._inputs = {node["name"]: node for node in self._interpreter.get_input_details()}
        self._outputs = {node["name"]: node for node in self._interpreter.get_output_details()}
        self._turn = threading.Lock()

    @property
    def inputs(self) -> dict[str, tuple[Any, ...]]:
        """Name -> shape of every input."""
        return {name: tuple(node["shape"].tolist()) for name, node in self._inputs.items()}

    @property
    def outputs(self) -> dict[str, tuple[Any, ...]]:
        """Name -> shape of every output."""
        return {name: tuple(node["shape"].tolist()) for name, node in self._outputs.items()}

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return name -> array for ``outputs`` (all outputs if None). The rows of the inputs are run one after another."""
        names = list(outputs or self._outputs)
        rows: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
        count = len(next(iter(feeds.values())))
        with self._turn:
            for row in range(count):
                for name, values in feeds.items():
                    self._interpreter.set_tensor(self._inputs[name]["index"], values[row : row + 1])
                self._interpreter.invoke()
                for name in names:
                    rows[name].append(self._interpreter.get_tensor(self._outputs[name]["index"]))  # a copy
        return {name: np.concatenate(found) for name, found in rows.items()}
