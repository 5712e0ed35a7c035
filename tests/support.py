"""Small real things for tests: the command, a bundle whose answers are known, and a detector that sees what it is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mien.bundles import Bundle, write_bundle
from mien.contract import LABELS, InputSpec
from mien.detect import Detection

POINTS = ((14.3, 17.8), (32.7, 18.0), (22.9, 27.8), (15.9, 36.3), (30.9, 36.6))


def mien(*arguments: object, cwd: Path, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run the command in a process of its own; return (status, stdout, stderr)."""
    command = [sys.executable, "-m", "mien", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, check=False, timeout=300)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def linear_graph(classes: int, size: int = 48, channels: int = 1) -> bytes:
    """Return an ONNX graph whose logit k is k times the chip's mean brightness in 0..1: bright chips are of the last class."""
    flat = size * size * channels
    weights = np.tile(np.arange(classes, dtype=np.float32) / (255 * flat), (flat, 1))
    nodes = [
        helper.make_node("Flatten", ["chips"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("chips", TensorProto.FLOAT, ["n", size, size, channels])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_bundle(folder: Path, labels: Sequence[str] = LABELS, **spec: Any) -> Bundle:
    """Write and return a bundle of :func:`linear_graph`."""
    size, channels = spec.get("chip_size", 48), spec.get("channels", 1)
    graph = linear_graph(len(labels), size, channels)
    return write_bundle(folder, graph, InputSpec(**{"name": "tiny", "version": "0.1", "labels": tuple(labels), **spec}))


def detection(x: float = 0, y: float = 0, scale: float = 1) -> Detection:
    """Return a face whose chip is the square of side 48 * scale at (x, y)."""
    points = tuple((x + px * scale, y + py * scale) for px, py in POINTS)
    return Detection((x + 3 * scale, y, x + 43 * scale, y + 48 * scale), 0.9, points)


@dataclass
class ToldDetector:
    """Answers the same faces for every frame, and remembers the shapes it was shown."""

    faces: tuple[Detection, ...] = ()
    name: str = "told"
    seen: list[tuple[int, ...]] = field(default_factory=list)

    def detect(self, frame_rgb: NDArray[np.uint8], min_face: float = 20) -> tuple[Detection, ...]:
        self.seen.append(frame_rgb.shape)
        return tuple(f for f in self.faces if f.box_xyxy[2] - f.box_xyxy[0] >= min_face)
