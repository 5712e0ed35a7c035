"""The only file that touches OpenVINO, the engine of Intel's processors, graphics and NPUs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import BundleError, MissingExtraError

REPORTER = "openvino_telemetry"  # reports every import of OpenVINO to its maker, and has no variable that turns it off


def _import_openvino() -> Any:
    """Return the package, imported as if its reporter were not installed, for which it has a stand-in of its own."""
    known = sys.modules.get(REPORTER)
    sys.modules[REPORTER] = None  # type: ignore[assignment]  # Python's own way to say that a module is not there
    try:
        return importlib.import_module("openvino")
    except ModuleNotFoundError:
        raise MissingExtraError("openvino", "openvino") from None
    finally:
        if known is None:
            del sys.modules[REPORTER]
        else:
            sys.modules[REPORTER] = known


openvino = _import_openvino()


class OpenVINOSession:
    """An OpenVINO graph, ``.xml`` with its ``.bin`` beside it, compiled for the CPU."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Read and compile a graph.

        Args:
            path: the ``.xml`` file.
            threads: CPU threads for one call; every core if None.

        Raises:
            BundleError: this OpenVINO cannot run the file.
        """
        # Some processors would compute in bfloat16 by default; answers should not depend on the machine.
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = openvino.Core().compile_model(str(path), "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(f"{path} is not a model that OpenVINO can run: {reason}") from None

    @property
    def inputs(self) -> dict[str, tuple[Any, ...]]:
        """Name -> shape of every input; None where a size may vary."""
        return {port.any_name: _shape(port) for port in self._compiled.inputs}

    @property
    def outputs(self) -> dict[str, tuple[Any, ...]]:
        """Name -> shape of every output."""
        return {port.any_name: _shape(port) for port in self._compiled.outputs}

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return name -> array for ``outputs`` (all of them if None)."""
        answers = self._compiled.create_infer_request().infer(dict(feeds))  # a request of its own, so that threads do not share one
        return {name: np.array(answers[name]) for name in outputs or self.outputs}


def _shape(port: Any) -> tuple[int | None, ...]:
    return tuple(size.get_length() if size.is_static else None for size in port.get_partial_shape())
