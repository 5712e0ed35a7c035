import json
from pathlib import Path

import numpy as np
import pytest

from mien.contract import CONTRACT_VERSION, FER2013_TEMPLATE, LABELS, InputSpec, model_input, template_for
from mien.errors import BundleError, UsageError

GOLDEN = Path(__file__).parent / "golden" / "model_input.npz"
SPEC = InputSpec("tiny", "1.0")


def test_model_input_is_pinned():
    """A change here changes every trained model's input: it needs a new contract version and new golden values."""
    with np.load(GOLDEN) as golden:
        assert int(golden["contract_version"]) == CONTRACT_VERSION
        for spec in (SPEC, SPEC.updated(input_range="0..1")):
            given = model_input(golden["chips"], spec)
            wanted = golden[spec.input_range]
            assert given.dtype == wanted.dtype == np.float32
            assert np.array_equal(given, wanted)


@pytest.mark.parametrize(
    ("chips", "spec"),
    [
        pytest.param(np.zeros((1, 48, 48), np.float32), SPEC, id="floats"),
        pytest.param(np.zeros((1, 47, 48), np.uint8), SPEC, id="another-size"),
        pytest.param(np.zeros((1, 48, 48, 3), np.uint8), SPEC, id="colour-for-a-grey-model"),
        pytest.param(np.zeros((1, 48, 48), np.uint8), SPEC.updated(channels=3), id="grey-for-a-colour-model"),
    ],
)
def test_model_input_refuses(chips, spec):
    with pytest.raises(UsageError, match="expected chips of uint8"):
        model_input(chips, spec)


def test_colour_chips_keep_their_channels():
    chips = np.arange(2 * 48 * 48 * 3, dtype=np.uint8).reshape(2, 48, 48, 3)
    assert np.array_equal(model_input(chips, SPEC.updated(channels=3)), chips)


def test_values_are_divided_in_the_type_that_the_network_takes():
    chips = np.full((1, 48, 48), 51, np.uint8)
    values = model_input(chips, SPEC.updated(input_dtype="float16", input_range="0..1"))
    assert values.dtype == np.float16
    assert values.max() == np.float16(51) / np.float16(255)


def test_a_network_that_takes_bytes_gets_the_chips_as_they_are():
    chips = np.arange(48 * 48, dtype=np.uint8).reshape(1, 48, 48)
    values = model_input(chips, SPEC.updated(input_dtype="uint8"))
    assert values.dtype == np.uint8
    assert np.array_equal(values[..., 0], chips)


def test_spec_survives_its_file(tmp_path):
    spec = InputSpec(
        "x", "2.0", labels=("a", "b"), chip_size=64, channels=3, template=template_for(64), temperature=1.3, uncertain_below=0.4
    )
    file = tmp_path / "spec.json"
    file.write_text(spec.to_json())
    assert InputSpec.read(file) == spec


def test_labels_and_template_are_the_agreed_ones():
    assert LABELS == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert template_for(48) == FER2013_TEMPLATE == ((14.3, 17.8), (32.7, 18.0), (22.9, 27.8), (15.9, 36.3), (30.9, 36.6))
    assert template_for(96) == tuple((2 * x, 2 * y) for x, y in FER2013_TEMPLATE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"contract_version": 99}, "contract version 99.*export the model again", id="other-version"),
        pytest.param({"name": ""}, "name must be a name", id="no-name"),
        pytest.param({"name": 5}, "name must be a name", id="a-number-for-a-name"),
        pytest.param({"labels": ["happy", ""]}, "labels must be", id="an-empty-label"),
        pytest.param({"labels": ["happy"]}, "labels must be", id="one-label"),
        pytest.param({"labels": ["happy", "happy"]}, "labels must be", id="a-label-twice"),
        pytest.param({"labels": [1, 2]}, "labels must be", id="labels-that-are-numbers"),
        pytest.param({"chip_size": 15}, "chip_size", id="tiny"),
        pytest.param({"chip_size": 513}, "chip_size", id="huge"),
        pytest.param({"chip_size": 48.0}, "chip_size", id="fractions-of-pixels"),
        pytest.param({"contract_version": 0}, "contract version 0", id="older-version"),
        pytest.param({"template": [[0, 0, 0]] * 5}, "does not hold what it should", id="points-in-space"),
        pytest.param({"channels": 2}, "channels", id="two-channels"),
        pytest.param({"channels": 4}, "channels", id="four-channels"),
        pytest.param({"input_dtype": "float64"}, "input_dtype must be float32", id="double-precision"),
        pytest.param({"input_range": "-1..1"}, "input_range must be", id="another-range"),
        pytest.param({"interpolation": "nearest"}, "interpolation must be", id="another-interpolation"),
        pytest.param({"border": "black"}, "border must be", id="another-border"),
        pytest.param({"format": "torch"}, "format must be one of onnx", id="another-format"),
        pytest.param({"output": "softmax"}, "output must be 'logits'", id="probabilities"),
        pytest.param({"temperature": 0}, "temperature", id="zero-temperature"),
        pytest.param({"temperature": 100}, "temperature", id="every-answer-alike"),
        pytest.param({"temperature": "warm"}, "spec.json", id="temperature-in-words"),
        pytest.param({"uncertain_below": 1.01}, "uncertain_below", id="threshold-over-one"),
        pytest.param({"uncertain_below": -0.01}, "uncertain_below", id="threshold-under-nought"),
        pytest.param({"template": [[0, 0]] * 4}, "template", id="four-points"),
        pytest.param({"template": [[0, float("nan")]] * 5}, "template", id="nan-point"),
        pytest.param({"smile": 1}, "unknown keys smile", id="unknown-key"),
    ],
)
def test_spec_refuses(change, message):
    values = json.loads(SPEC.to_json()) | change
    with pytest.raises(BundleError, match=message):
        InputSpec.from_dict(values)


@pytest.mark.parametrize("side", [16, 512])
def test_the_smallest_and_the_largest_chip_are_allowed(side):
    assert SPEC.updated(chip_size=side, uncertain_below=1.0).input_shape == (side, side, 1)


def test_spec_names_missing_keys():
    with pytest.raises(BundleError, match="lacks contract_version, labels, name, template, version"):
        InputSpec.from_dict({"temperature": 1.0})


def test_a_format_names_its_engine():
    assert [SPEC.updated(format=kind).engine for kind in ("onnx", "onnx-int8", "litert-int8", "openvino")] == [
        "onnx",
        "onnx",
        "litert",
        "openvino",
    ]


def test_a_folder_without_a_spec_is_told_what_it_lacks(tmp_path):
    with pytest.raises(BundleError, match=r"has no spec\.json"):
        InputSpec.read(tmp_path / "spec.json")


@pytest.mark.parametrize(("text", "message"), [("{", "not readable JSON"), ("[]", "JSON object")], ids=["cut-short", "a-list"])
def test_spec_file_refuses(tmp_path, text, message):
    (tmp_path / "spec.json").write_text(text)
    with pytest.raises(BundleError, match=message):
        InputSpec.read(tmp_path / "spec.json")
