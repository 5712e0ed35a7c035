"""Stores the weights of an ONNX graph differently: float32, float16, or 8-bit integers with or without 8-bit activations.

Inputs and outputs stay float32, so every form is called in the same way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
# Operators that become 8-bit. Sums do not: a residual sum has a wider range than its terms, and 256 steps are too few for it.
QUANTIZED = [*sorted(WEIGHTED), "Relu", "AveragePool", "MaxPool", "Pad"]
LARGE = 64  # weights per tensor; for a smaller tensor, the extra node takes more space than 8 bits save


def float32(graph: bytes) -> onnx.ModelProto:
    """Return a graph with the weights in float32 that :func:`float16` stored in 16 bits with a Cast behind them, without the Casts.

    Unused weights are removed.
    """
    model = onnx.load_model_from_string(graph)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    widened = {
        node.output[0]: node
        for node in model.graph.node
        if node.op_type == "Cast" and node.input[0] in stored and helper.get_node_attr_value(node, "to") == TensorProto.FLOAT
    }
    for name, node in widened.items():
        model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(stored[node.input[0]]).astype(np.float32), name))
        model.graph.node.remove(node)
    _drop_unused(model.graph)
    return model


def with_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return a copy of a graph that keeps one of several outputs, named ``logits``."""
    single = _copy(model)
    (answer,) = [output for output in single.graph.output if output.name == name]
    del single.graph.output[:]
    single.graph.output.append(answer)
    needed = {name}
    kept = []
    for node in reversed(single.graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            kept.append(node)
    del single.graph.node[:]
    single.graph.node.extend(reversed(kept))
    for node in single.graph.node:
        node.output[:] = ["logits" if output == name else output for output in node.output]
    single.graph.output[0].name = "logits"
    _drop_unused(single.graph)
    return single


def float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that stores large weights in float16. They become float32 when the graph is loaded; it computes in float32."""
    small = _copy(model)
    casts = []
    for tensor in small.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < LARGE or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    return _with_nodes_in_front(small, casts)


def int8(model: onnx.ModelProto, batches: Iterable[NDArray[np.float32]]) -> onnx.ModelProto:
    """Return a copy that computes in 8-bit integers between its first and its last layer.

    Weights have one scale per channel and 7 bits, because processors without dot-product instructions would overflow with 8 bits.
    Activations get the range that they have on ``batches``. The operations before the first layer (normalisation, enlarging) stay in
    float32. The last layer also stays in float32, unless it holds most of the weights.

    Args:
        model: float32, with one input.
        batches: inputs of the network, arrays (N, H, W, C) of training chips.
    """
    # Only the training wing uses this tool. The runtime opens graphs only in mien.runtime.
    import mien.runtime  # noqa: F401  (first: it turns off the telemetry of onnxruntime)

    # isort: split
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
        def __init__(self) -> None:
            self._left: Iterator[NDArray[np.float32]] = iter(batches)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            values = next(self._left, None)
            return None if values is None else {model.graph.input[0].name: values}

    with tempfile.TemporaryDirectory(prefix="mien-int8-") as scratch:
        given, folded, small = (Path(scratch) / f"{name}.onnx" for name in ("given", "folded", "int8"))
        onnx.save(model, given)  # a file: for a graph in memory, the weights go to an extra file that the optimiser cannot read
        quant_pre_process(given, folded, skip_symbolic_shape=True)
        whole = onnx.load(folded)
        _shorten(whole)
        quantize_static(
            whole,
            small,
            Batches(),
            op_types_to_quantize=QUANTIZED,
            nodes_to_exclude=outer_nodes(whole.graph),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        quantized = onnx.load(small)
    _shorten(quantized)
    return quantized


def int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which weights of layers are stored in 8 bits, with one scale per channel. The graph still computes in float32.

    Biases and tensors of fewer than :data:`LARGE` values do not change.
    """
    small = _copy(model)
    channel = {name: axis for node in small.graph.node for name, axis in _weights_of(node)}
    nodes, scales = [], []
    for tensor in small.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name not in channel or values.dtype != np.float32 or values.ndim < 2 or values.size < LARGE:
            continue
        name, axis = tensor.name, channel[tensor.name]
        peak = np.abs(values).max(tuple(i for i in range(values.ndim) if i != axis), keepdims=True)
        scale = np.maximum(peak, np.finfo(np.float32).tiny * 127) / np.float32(127)
        tensor.CopyFrom(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}_int8"))
        scales.append(numpy_helper.from_array(scale.ravel().astype(np.float32), f"{name}_scale"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_int8", f"{name}_scale"], [name], axis=axis))
    small.graph.initializer.extend(scales)
    return _with_nodes_in_front(small, nodes)


def outer_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes before the first layer with weights, and of the last such layers if they are small."""
    constants = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    layers = {node.name: size for node in graph.node if (size := _layer_size(node, constants))}
    maker = {name: node for node in graph.node for name in node.output}
    below: set[str] = set()  # nodes after some layer
    feeding: set[str] = set()  # nodes before some layer
    for node in graph.node:  # in topological order
        sources = [maker[name].name for name in node.input if name in maker]
        if any(name in below or name in layers for name in sources):
            below.add(node.name)
    for node in reversed(graph.node):
        if node.name in feeding or node.name in layers:
            feeding.update(maker[name].name for name in node.input if name in maker)
    front = [node.name for node in graph.node if node.name not in below and node.name not in layers]
    head = [name for name in layers if name not in feeding]
    light = sum(layers[name] for name in head) <= sum(constants.values()) / 50
    return front + (head if light else [])


def _layer_size(node: onnx.NodeProto, constants: dict[str, int]) -> int:
    return max((constants.get(name, 0) for name, _ in _weights_of(node)), default=0)


def _weights_of(node: onnx.NodeProto) -> list[tuple[str, int]]:
    """Return (name, channel axis) of the inputs of a node that may be the weights of a layer."""
    if node.op_type == "Conv":
        return [(node.input[1], 0)]
    if node.op_type == "ConvTranspose":
        return [(node.input[1], 1)]
    if node.op_type == "Gemm":
        turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return [(node.input[1], 0 if turned else 1)]
    return [(node.input[1], 1)] if node.op_type == "MatMul" else []


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _with_nodes_in_front(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    onnx.checker.check_model(model)
    return model


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _shorten(model: onnx.ModelProto) -> None:
    """Give nodes and inner tensors short unique names. A converter's long names take as much space as the layers of a small net."""
    graph = model.graph
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return  # subgraphs use names of the outer graph
    names = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.setdefault(name, f"t{len(names)}")
        for index, name in enumerate(node.output):
            node.output[index] = names.setdefault(name, f"t{len(names)}")
    for number, node in enumerate(graph.node):
        node.name, node.doc_string = f"n{number}", ""
    for tensor in graph.initializer:
        tensor.name = names.setdefault(tensor.name, f"t{len(names)}")
    del graph.value_info[:]
    _drop_unused(graph)
