from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.bundles import open_bundle
from mien.train.evaluation.size import graph_size
from tests.train import made_up


def test_a_graph_is_counted_for_one_face(tmp_path: Path) -> None:
    file = made_up.brightness_bundle(tmp_path).model_path

    assert graph_size(file) == {
        "parameters": 48 * 48 * 7 + 7,
        "mmac": pytest.approx(48 * 48 * 7 / 1e6, abs=0.05),
        "bytes": file.stat().st_size,
    }


def test_a_convolution_in_groups_sums_its_own_channels(tmp_path: Path) -> None:
    kernel = numpy_helper.from_array(np.zeros((200, 2, 3, 3), np.float16), "kernel")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["kernel"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["chips", "wide"], ["maps"], group=2, pads=[1, 1, 1, 1], strides=[2, 2]),
        ],
        "grouped",
        [helper.make_tensor_value_info("chips", TensorProto.FLOAT, ["n", 4, 48, 48])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["n", 200, 24, 24])],
        [kernel],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "grouped.onnx")

    told = graph_size(tmp_path / "grouped.onnx")

    assert told["parameters"] == 200 * 2 * 9
    assert told["mmac"] == round(200 * 24 * 24 * 2 * 9 / 1e6, 1)


def test_weights_of_eight_bits_count_and_their_scales_do_not(tmp_path: Path) -> None:
    stored = {"weights": np.zeros((48 * 48, 7), np.int8), "scale": np.ones(7, np.float32), "zero": np.zeros(7, np.int8)}
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["chips"], ["flat"]),
            helper.make_node("DequantizeLinear", list(stored), ["wide"], axis=1),
            helper.make_node("MatMul", ["flat", "wide"], ["logits"]),
        ],
        "eight bits",
        [helper.make_tensor_value_info("chips", TensorProto.FLOAT, ["n", 48, 48, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 7])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "small.onnx")

    told = graph_size(tmp_path / "small.onnx")

    assert told["parameters"] == 48 * 48 * 7
    assert told["mmac"] == round(48 * 48 * 7 / 1e6, 1)


def test_nano_is_as_small_as_it_says() -> None:
    assert graph_size(open_bundle("nano").model_path)["parameters"] <= 300_000
