"""OpenVINO, the engine for Intel's processors, graphics and NPUs. Only this file imports it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import BundleError, MissingExtraError

REPORTER = "openvino_telemetry"  # reports every import of OpenVINO to Intel, and no environment variable turns it off


def _import_openvino() -> Any:
    """Return the package, imported as if its telemetry package were not installed. OpenVINO has a fallback for this case."""
    known = sys.modules.get(REPORTER)
    sys.modules[REPORTER] = None  # type: ignore[assignment]  # Python's way to mark a module as missing
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
    """An OpenVINO graph, compiled for the CPU: an ``.xml`` file with its ``.bin`` in the same folder."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Read and compile a graph.

        Args:
            path: the ``.xml`` file.
            threads: CPU threads for one call; every core if None.

        Raises:
            BundleError: this OpenVINO cannot run the file.
        """
        # Some processors compute in bfloat16 by default, but results must not depend on the machine.
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
        """Name -> shape of every input; None for a variable size."""
        return {port.any_name: _shape(port) for port in self._compiled.inputs}

    @property
    def outputs(self) -> dict[str, tuple[Any, ...]]:
        """Name -> shape of every output."""
        return {port.any_name: _shape(port) for port in self._compiled.outputs}

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return name -> array for ``outputs`` (all outputs if None)."""
        answers = self._compiled.create_infer_request().infer(dict(feeds))  # one request per call, so that threads do not share it
        return {name: np.array(answers[name]) for name in outputs or self.outputs}


def _shape(port: Any) -> tuple[int | None, ...]:
    return tuple(size.get_length() if size.is_static else None for size in port.get_partial_shape())
