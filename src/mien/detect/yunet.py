"""YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y) through onnxruntime.

The package contains the weights of libfacedetection (S. Yu, BSD-3), 0.2 MB. OpenCV's file and others with the same outputs also work.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Frame
from mien.detect.base import Detection, Rows, best_first, detections, search
from mien.detect.tiles import Searcher
from mien.errors import BundleError, DetectorError, UsageError
from mien.runtime import Session

FACE_DETECTOR = Path(__file__).parent / "weights" / "face_detector.onnx"
STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)


class YuNetDetector:
    """YuNet as a :class:`~mien.detect.base.Detector`. Threads may share it."""

    name = "yunet"

    def __init__(
        self,
        path: str | Path = FACE_DETECTOR,
        *,
        threshold: float = 0.3,
        max_side: int = 960,
        threads: int | None = None,
        tiles_at_once: int | None = None,
    ) -> None:
        """Load the graph.

        Args:
            path: a graph with YuNet's inputs and outputs, such as OpenCV's ``face_detection_yunet_2023mar.onnx``. The default is the
                graph in the package.
            threshold: minimum score of a face, in (0, 1]. A lower threshold finds more faces in clutter, and more false ones
                (``python -m benchmarks.scenes --split public`` counts both).
            max_side: in pixels; frames with a longer side are searched in a copy of this size. A graph of fixed input size lowers it to
                that size.
            threads: CPU threads for one call; onnxruntime's choice if None.
            tiles_at_once: number of tiles that :meth:`detect_thoroughly` searches in parallel; if None, enough to use every core.

        Raises:
            DetectorError: the file is missing or is not a YuNet.
            UsageError: an argument is out of range.
        """
        if not 0 < threshold <= 1 or max_side < STRIDES[-1]:
            raise UsageError(f"expected a threshold in (0, 1] and max_side of {STRIDES[-1]} or more, got {threshold} and {max_side}")
        if not Path(path).is_file():
            raise DetectorError(f"no face detector at {path}; give the path of a YuNet .onnx file, or auto for the one in the package")
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
        at_once = tiles_at_once or (max(1, (os.cpu_count() or 1) // threads) if threads else 1)
        self._searcher = Searcher(self._look, self._max_side, at_once)

    def detect(self, frame_rgb: Frame, min_face: float = 20) -> tuple[Detection, ...]:
        """Return the faces of an RGB frame, uint8 (H, W, 3), largest first; see :class:`~mien.detect.base.Detector`.

        Raises:
            UsageError: the frame is not uint8 (H, W, 3).
        """
        return search(frame_rgb, self._look, self._max_side, min_face)

    def detect_thoroughly(self, frame_rgb: Frame, min_face: float) -> tuple[Detection, ...]:
        """Return the faces of a frame of any size down to ``min_face`` px; see :class:`~mien.detect.base.ThoroughDetector`.

        Raises:
            UsageError: the frame is not uint8 (H, W, 3).
        """
        return self._searcher.search(frame_rgb, min_face)

    def detect_near(self, view_rgb: Frame) -> tuple[Detection, ...]:
        """Return the faces of a small picture; see :class:`~mien.detect.base.NearDetector`."""
        if max(view_rgb.shape[:2]) > self._max_side:  # a graph of fixed size accepts no larger view
            return self.detect(view_rgb, min_face=1)
        return detections(best_first(self._look(view_rgb)), view_rgb, min_face=1)

    def _look(self, view_rgb: Frame) -> Rows:
        height, width = self._fixed_hw or tuple(-(-side // STRIDES[-1]) * STRIDES[-1] for side in view_rgb.shape[:2])
        blob = np.zeros((1, 3, height, width), np.float32)
        blob[0, :, : view_rgb.shape[0], : view_rgb.shape[1]] = view_rgb[:, :, ::-1].transpose(2, 0, 1)  # BGR
        return decode(self._session.run({self._input: blob}, OUTPUTS), height, width, self._threshold)


def decode(outputs: Mapping[str, NDArray[np.float32]], height: int, width: int, threshold: float) -> Rows:
    """Return rows (N, 15) in pixels of the network's input, from its outputs.

    Every cell of a grid of 8, 16 or 32 px gives at most one face. Its score is the geometric mean of the class and object scores. Its
    centre and landmarks are offsets from the cell's corner, in cells. Its width and height are exponentials, in cells.
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
