import numpy as np
import pytest

from mien.bundles import Bundle, write_bundle
from mien.classify import MICRO_BATCH, Classifier, softmax
from mien.contract import InputSpec
from mien.errors import BundleError
from tests.support import linear_graph, tiny_bundle


def _chips(*levels):
    return np.stack([np.full((48, 48), level, np.uint8) for level in levels])


def test_probabilities_follow_the_logits(tmp_path):
    classifier = Classifier(tiny_bundle(tmp_path, ("dark", "bright")))
    p = classifier.probabilities(_chips(0, 255))
    assert p[0] == pytest.approx([0.5, 0.5])
    assert p[1, 1] == pytest.approx(np.e / (1 + np.e), abs=1e-4)


@pytest.mark.parametrize("count", [0, 1, MICRO_BATCH - 1, MICRO_BATCH, MICRO_BATCH + 1, 3 * MICRO_BATCH])
def test_a_batch_answers_as_single_chips_do(tmp_path, count):
    classifier = Classifier(tiny_bundle(tmp_path))
    chips = np.random.default_rng(0).integers(0, 256, (count, 48, 48), dtype=np.uint8)
    together = classifier.probabilities(chips)
    assert together.shape == (count, 7)
    for chip, row in zip(chips, together, strict=True):
        assert classifier.probabilities(chip[None])[0] == pytest.approx(row, abs=1e-6)


def test_temperature_softens(tmp_path):
    sharp = Classifier(tiny_bundle(tmp_path / "a")).probabilities(_chips(255))
    soft = Classifier(tiny_bundle(tmp_path / "b", temperature=4.0)).probabilities(_chips(255))
    assert soft.max() < sharp.max()
    assert soft.argmax() == sharp.argmax()


def test_uncertain_is_below_the_threshold_only(tmp_path):
    classifier = Classifier(tiny_bundle(tmp_path, ("a", "b"), uncertain_below=0.6))
    assert classifier.is_uncertain(classifier.emotions(np.array([0.55, 0.45])))
    assert not classifier.is_uncertain(classifier.emotions(np.array([0.60, 0.40])))
    record = classifier.emotions(np.array([0.25, 0.75]))
    assert record.to_dict() == {"a": 0.25, "b": 0.75}


def test_softmax_does_not_overflow():
    assert softmax(np.array([[1e4, 0.0]], np.float32)).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("graph", "spec", "message"),
    [
        pytest.param(linear_graph(3), {"labels": ("a", "b")}, "answers .*3.* labels", id="more-outputs-than-labels"),
        pytest.param(linear_graph(2), {"labels": ("a", "b"), "chip_size": 32}, "does not take chips", id="another-chip-size"),
        pytest.param(linear_graph(2, channels=3), {"labels": ("a", "b")}, "does not take chips", id="another-depth"),
    ],
)
def test_a_graph_that_does_not_fit_its_spec_is_refused(tmp_path, graph, spec, message):
    bundle: Bundle = write_bundle(tmp_path, graph, InputSpec("odd", "1", **spec))
    with pytest.raises(BundleError, match=message):
        Classifier(bundle)
