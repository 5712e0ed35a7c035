"""Sessions of onnxruntime, one per model. Only this module imports onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import BundleError, UsageError

# onnxruntime 1.32 and newer writes a device id to the home directory and sends reports to Microsoft, unless this is set before its import.
# Child processes inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

MAX_THREADS = 1024  # more threads only use more memory


def check_threads(threads: int | None) -> None:
    """Raise UsageError if ``threads`` is neither None nor 1 to :data:`MAX_THREADS`."""
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"threads must be 1 to {MAX_THREADS:,}, got {threads:,}")


class Session:
    """A loaded ONNX graph.

    Calls from several threads are safe; they share the same intra-op threads.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None, providers: Sequence[str] | None = None) -> None:
        """Load a graph.

        Args:
            path: an ``.onnx`` file.
            threads: CPU threads for one call; onnxruntime's choice (all cores) if None.
            providers: onnxruntime execution providers by name, first choice first; the CPU if None.

        Raises:
            BundleError: the file is missing or is not an ONNX graph that this onnxruntime can run.
            UsageError: ``threads`` is not 1 to :data:`MAX_THREADS`, or a provider is not in this build of onnxruntime.
        """
        check_threads(threads)
        wanted = list(providers or ["CPUExecutionProvider"])
        if missing := sorted(set(wanted) - set(ort.get_available_providers())):
            known = ", ".join(ort.get_available_providers())
            raise UsageError(f"this onnxruntime has no {', '.join(missing)}; it offers {known}")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        if threads:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        if not Path(path).is_file():
            raise BundleError(f"no model file at {path}")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=wanted)
        except Exception as error:  # onnxruntime raises its own classes, and plain RuntimeError
            reason = str(error).splitlines()[0]
            raise BundleError(f"{path} is not an ONNX model that onnxruntime {ort.__version__} can run: {reason}") from None

    @property
    def inputs(self) -> dict[str, tuple[Any, ...]]:
        """Name -> shape of every input; variable sizes are strings or None."""
        return {node.name: tuple(node.shape) for node in self._session.get_inputs()}

    @property
    def outputs(self) -> dict[str, tuple[Any, ...]]:
        """Name -> shape of every output."""
        return {node.name: tuple(node.shape) for node in self._session.get_outputs()}

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return name -> array for ``outputs`` (all outputs if None)."""
        names = list(outputs or self.outputs)
        arrays = self._session.run(names, dict(feeds))
        return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}
