"""An ONNX graph -> OpenVINO's two files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from mien.errors import MissingExtraError


def to_openvino(model: onnx.ModelProto) -> list[bytes]:
    """Return the contents of ``model.xml`` and ``model.bin``; weights are stored in float16, as OpenVINO does by default.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    try:
        import openvino
    except ModuleNotFoundError:
        raise MissingExtraError("openvino", "openvino") from None
    with tempfile.TemporaryDirectory(prefix="mien-openvino-") as scratch:
        file = Path(scratch) / "model.xml"
        openvino.save_model(openvino.Core().read_model(model.SerializeToString()), file, compress_to_fp16=True)
        return [file.read_bytes(), file.with_suffix(".bin").read_bytes()]
