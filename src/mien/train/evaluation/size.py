"""Counts the parameters, multiply-adds and bytes of a model file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper, shape_inference

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
CONTRACTIONS = ("Conv", "Gemm", "MatMul")  # the operators that hold the multiply-adds of our networks


def graph_size(file: Path) -> dict[str, Any]:
    """Return {parameters, mmac, bytes} of an ONNX graph.

    ``parameters`` counts the numbers that the graph stores, without shapes, axes and the scales of 8-bit weights. A folded norm counts
    as part of the layer that holds it. ``mmac`` is the number of multiply-adds of convolutions and matrix products for one face, in
    millions: the number of outputs times the number of inputs that each output sums.
    """
    model = onnx.load(file)
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes |= {name: list(array.shape) for name, array in stored.items()}
    macs = sum(_summed(node, shapes) * math.prod(shapes[node.output[0]]) for node in graph.node if node.op_type in CONTRACTIONS)
    quantized = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    scales = {name for node in graph.node if node.op_type in QUANTIZERS for name in node.input[1:]}
    counted = [array for name, array in stored.items() if name in quantized or (array.dtype.kind == "f" and name not in scales)]
    return {
        "parameters": sum(array.size for array in counted),
        "mmac": round(macs / 1e6, 1),
        "bytes": file.stat().st_size,
    }


def _summed(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    """Return how many products each output of a convolution or matrix product sums."""
    left, right = (shapes[name] for name in node.input[:2])
    if node.op_type == "Conv":
        return math.prod(right[1:])
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return left[-2] if turned else left[-1]
