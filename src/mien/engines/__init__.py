"""Bundle -> a session of the engine in its spec.json. Every engine has the interface of :class:`mien.runtime.Session`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mien.errors import UsageError
from mien.runtime import Session, check_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.bundles import Bundle


class Engine(Protocol):
    """A loaded network. Calls from several threads are safe."""

    @property
    def inputs(self) -> dict[str, tuple[Any, ...]]:
        """Name -> shape of every input; variable sizes are strings or None."""
        ...

    @property
    def outputs(self) -> dict[str, tuple[Any, ...]]:
        """Name -> shape of every output."""
        ...

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return name -> array for ``outputs`` (all outputs if None)."""
        ...


def open_session(bundle: Bundle, *, threads: int | None = None, providers: Sequence[str] | None = None) -> Engine:
    """Return a session of a bundle's weights.

    Args:
        bundle: an opened bundle.
        threads: CPU threads for one call; every core if None.
        providers: names of onnxruntime execution providers; for onnxruntime bundles only.

    Raises:
        BundleError: the engine cannot read the weights.
        MissingExtraError: the engine is not installed.
        UsageError: ``threads`` is out of range, or ``providers`` are given for another engine.
    """
    engine = bundle.spec.engine
    if engine == "onnx":
        return Session(bundle.model_path, threads=threads, providers=providers)
    if providers:
        raise UsageError(f"execution providers belong to onnxruntime; this bundle is of the format {bundle.spec.format!r}")
    check_threads(threads)
    if engine == "litert":
        from mien.engines.litert import LiteRTSession

        return LiteRTSession(bundle.model_path, threads=threads)
    from mien.engines.openvino import OpenVINOSession

    return OpenVINOSession(bundle.model_path, threads=threads)
