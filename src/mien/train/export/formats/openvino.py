"""Converts an ONNX graph to the two files of OpenVINO."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx


def to_openvino(model: onnx.ModelProto) -> list[bytes]:
    """Return the contents of ``model.xml`` and ``model.bin``. Weights are stored in float16, as is OpenVINO's default.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    from mien.engines.openvino import openvino

    with tempfile.TemporaryDirectory(prefix="mien-openvino-") as scratch:
        file = Path(scratch) / "model.xml"
        openvino.save_model(openvino.Core().read_model(model.SerializeToString()), file, compress_to_fp16=True)
        return [file.read_bytes(), file.with_suffix(".bin").read_bytes()]
