"""Face detection with five landmarks per face: a protocol, and its implementation :class:`~mien.detect.yunet.YuNetDetector`."""

from __future__ import annotations

from pathlib import Path

from mien.detect.base import Detection, Detector
from mien.errors import DetectorError

__all__ = ["Detection", "Detector", "find_detector"]


def find_detector(name: str | Path = "auto", threads: int | None = None, tiles_at_once: int | None = None) -> Detector:
    """Return a detector that is ready to run.

    Args:
        name: ``auto`` for the network in the package, or the path of another YuNet ``.onnx`` file.
        threads: CPU threads for one call; onnxruntime's choice if None.
        tiles_at_once: number of tiles of one picture that are searched in parallel; see
            :class:`~mien.detect.yunet.YuNetDetector`.

    Raises:
        DetectorError: there is no such detector, or the file is not a detector.
        UsageError: ``threads`` is below 1.
    """
    from mien.detect.yunet import FACE_DETECTOR, YuNetDetector  # loads onnxruntime

    if name == "auto":
        return YuNetDetector(FACE_DETECTOR, threads=threads, tiles_at_once=tiles_at_once)
    if Path(name).suffix == ".onnx":
        return YuNetDetector(name, threads=threads, tiles_at_once=tiles_at_once)
    raise DetectorError(f"no detector called {str(name)!r}; expected auto, or the path of a YuNet .onnx file")
