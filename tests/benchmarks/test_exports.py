"""The table of exports: every format measured, a refused one with its reason."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from benchmarks.exports import Row, measure, paced, table
from mien.bundles import write_bundle
from mien.contract import InputSpec
from tests.support import linear_graph
from tests.train.shapes import write_shapes

FAINT = 1e-3  # makes weights smaller than the smallest number of half precision


def faint_graph() -> bytes:
    """Return a network that float16 turns into zeros."""
    model = onnx.load_model_from_string(linear_graph(7))
    (weights,) = model.graph.initializer
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(FAINT), weights.name))
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("exports")
    write_bundle(folder / "tiny", faint_graph(), InputSpec("tiny", "1.0", temperature=FAINT))
    return measure(str(folder / "tiny"), write_shapes(folder / "data", train=12), ["onnx", "onnx-fp16", "onnx-int8"], rounds=1)


def test_a_format_is_compared_on_the_validation_split(rows: list[Row]) -> None:
    source, _, small = rows
    assert {(row["model"], row["sample"], row["chips"]) for row in (source, small)} == {("tiny", "PublicTest", 42)}
    assert (source["agreement"], source["max_probability_difference"], source["share"]) == (1, 0, 1)
    assert small["share"] < 0.3
    assert all(0 < ms < 1000 for row in (source, small) for ms in row["ms_a_face"].values())


def test_a_refused_format_is_a_row_that_says_why(rows: list[Row]) -> None:
    assert rows[1].keys() == {"model", "format", "refused"}
    text = table({"rows": rows, "machine": "a machine"})
    assert "| tiny | `onnx-fp16` | refused |" in text
    assert "- tiny as `onnx-fp16`: no onnx-fp16 of tiny is close enough to its source on 42 chips" in text


def test_every_row_of_the_table_has_every_column(rows: list[Row]) -> None:
    head, _, *lines = table({"rows": rows, "machine": "a machine"}).split("\n\n")[0].splitlines()
    assert {line.count("|") for line in (head, *lines)} == {head.count("|")}


def test_times_are_set_beside_the_source_of_the_same_run() -> None:
    common = {
        "model": "m", "method": "float32", "chips": 100, "agreement": 1, "max_probability_difference": 0.0, "source_accuracy": 0.7,
        "accuracy": 0.69, "bytes": 10**6, "share": 0.5,
    }  # fmt: skip
    rows = [
        {**common, "format": "litert", "ms_a_face": {"1": 1.0, "32": 0.5}},
        {**common, "format": "onnx", "ms_a_face": {"1": 2.0, "32": 0.25}},
    ]
    litert = table({"rows": rows, "machine": "a machine"}).splitlines()[2]
    assert litert.endswith("| 69.00% (59.37% to 77.22%) | +1.00 | 1.00 (2.0) | 0.50 (0.5) |")
    assert "1.00 | 0.50 |" in table({"rows": rows[:1], "machine": "a machine"}), "without its source, no ratio"


class Counting:
    """Answers nothing, and remembers the sizes of the batches that it was given."""

    def __init__(self, calls: list[tuple[str, int]], name: str) -> None:
        self.calls, self.name = calls, name

    def logits(self, chips: np.ndarray) -> None:
        self.calls.append((self.name, len(chips)))


def test_formats_take_turns_on_the_clock() -> None:
    calls: list[tuple[str, int]] = []
    times = paced({name: Counting(calls, name) for name in "ab"}, np.zeros((40, 2, 2), np.uint8), rounds=2)
    turns = [call for before, call in zip([None, *calls], calls, strict=False) if call != before]
    assert turns == [("a", 1), ("a", 32), ("b", 1), ("b", 32)] * 2
    assert {name: set(batches) for name, batches in times.items()} == {"a": {"1", "32"}, "b": {"1", "32"}}
