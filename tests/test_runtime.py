import numpy as np
import pytest

from mien.errors import BundleError, UsageError
from mien.runtime import Session
from tests.support import linear_graph


@pytest.fixture
def graph(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(linear_graph(3))
    return file


def test_a_session_runs_and_describes_itself(graph):
    session = Session(graph, threads=1)
    assert list(session.inputs) == ["chips"]
    assert session.outputs["logits"][1] == 3
    answer = session.run({"chips": np.full((2, 48, 48, 1), 255, np.float32)})
    assert answer["logits"] == pytest.approx(np.array([[0, 1, 2]] * 2), abs=1e-4)


@pytest.mark.parametrize(
    ("content", "options", "error", "message"),
    [
        pytest.param(b"not a graph", {}, BundleError, "not an ONNX model", id="foreign-file"),
        pytest.param(None, {}, BundleError, "no model file", id="missing-file"),
        pytest.param(linear_graph(2)[:-50], {}, BundleError, "not an ONNX model", id="cut-short"),
        pytest.param(linear_graph(2), {"threads": 0}, UsageError, "threads must be 1 to 1,024", id="no-threads"),
        pytest.param(linear_graph(2), {"providers": ["MagicProvider"]}, UsageError, "no MagicProvider; it offers", id="unknown-provider"),
    ],
)
def test_a_session_refuses(tmp_path, content, options, error, message):
    file = tmp_path / "model.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(error, match=message):
        Session(file, **options)
