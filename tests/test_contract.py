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


def test_spec_survives_its_file(tmp_path):
    spec = InputSpec(
        "x", "2.0", labels=("a", "b"), chip_size=64, channels=3, template=template_for(64), temperature=1.3, uncertain_below=0.4
    )
    file = tmp_path / "spec.json"
    file.write_text(spec.to_json())
    assert InputSpec.read(file) == spec


def test_labels_are_in_the_agreed_order():
    assert LABELS == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert template_for(48) == FER2013_TEMPLATE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"contract_version": 99}, "contract version 99.*export the model again", id="other-version"),
        pytest.param({"labels": ["happy"]}, "labels must be", id="one-label"),
        pytest.param({"labels": ["happy", "happy"]}, "labels must be", id="a-label-twice"),
        pytest.param({"labels": [1, 2]}, "labels must be", id="labels-that-are-numbers"),
        pytest.param({"chip_size": 4}, "chip_size", id="tiny"),
        pytest.param({"channels": 4}, "channels", id="four-channels"),
        pytest.param({"output": "softmax"}, "output must be 'logits'", id="probabilities"),
        pytest.param({"temperature": 0}, "temperature", id="zero-temperature"),
        pytest.param({"temperature": "warm"}, "spec.json", id="temperature-in-words"),
        pytest.param({"uncertain_below": 2}, "uncertain_below", id="impossible-threshold"),
        pytest.param({"template": [[0, 0]] * 4}, "template", id="four-points"),
        pytest.param({"template": [[0, float("nan")]] * 5}, "template", id="nan-point"),
        pytest.param({"smile": 1}, "unknown keys smile", id="unknown-key"),
    ],
)
def test_spec_refuses(change, message):
    values = json.loads(SPEC.to_json()) | change
    with pytest.raises(BundleError, match=message):
        InputSpec.from_dict(values)


def test_spec_names_missing_keys():
    with pytest.raises(BundleError, match="lacks labels, name"):
        InputSpec.from_dict({"contract_version": 1, "version": "1", "template": FER2013_TEMPLATE})


@pytest.mark.parametrize(("text", "message"), [("{", "not readable JSON"), ("[]", "JSON object")], ids=["cut-short", "a-list"])
def test_spec_file_refuses(tmp_path, text, message):
    (tmp_path / "spec.json").write_text(text)
    with pytest.raises(BundleError, match=message):
        InputSpec.read(tmp_path / "spec.json")
