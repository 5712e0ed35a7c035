from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from mien.bundles import open_bundle
from mien.contract import InputSpec
from mien.errors import MienWarning, UsageError
from mien.train.evaluation import metrics
from mien.train.evaluation.calibrate import calibrated, choose_threshold, fit_temperature, write_spec
from tests.support import tiny_bundle


@pytest.fixture(scope="module")
def honest() -> tuple[np.ndarray, np.ndarray]:
    """Logits (4000, 7) whose softmax is the true distribution of their labels."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (4000, 7))
    labels = np.array([rng.choice(7, p=row) for row in softmax(logits, axis=1)])
    return logits, labels


@pytest.mark.parametrize("stretch", [pytest.param(0.4, id="too modest"), pytest.param(1, id="honest"), pytest.param(3, id="too sure")])
def test_temperature_undoes_a_stretch_of_the_logits(honest: tuple[np.ndarray, np.ndarray], stretch: float) -> None:
    logits, labels = honest
    temperature = fit_temperature(logits * stretch, labels)
    assert temperature == pytest.approx(stretch, rel=0.05)
    assert metrics.ece(softmax(logits * stretch / temperature, axis=1), labels) < 0.03


def test_temperature_is_the_minimum_of_the_log_loss(honest: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = honest
    best = fit_temperature(logits * 2, labels)
    losses = [metrics.log_loss(softmax(logits * 2 / t, axis=1), labels) for t in (best * 0.99, best, best * 1.01)]
    assert losses[1] == min(losses)


def test_threshold_is_the_lowest_that_reaches_the_target(honest: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = honest
    p = softmax(logits, axis=1)
    threshold = choose_threshold(p, labels, 0.8)
    assert metrics.selective_accuracy(p, labels, threshold)["accuracy"]["value"] >= 0.8
    lower = np.unique(p.max(1)[p.max(1) < threshold])
    assert all(metrics.selective_accuracy(p, labels, float(t))["accuracy"]["value"] < 0.8 for t in lower)


def test_nothing_is_uncertain_when_all_answers_already_reach_the_target() -> None:
    assert choose_threshold([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 0], 0.9) == 0.0


def test_threshold_keeps_clear_of_the_confidences_beside_it() -> None:
    assert choose_threshold([[0.9, 0.1], [0.7, 0.3]], [0, 1], 1.0) == pytest.approx(0.8)


def test_calibrated_writes_both_values_into_the_spec(honest: tuple[np.ndarray, np.ndarray]) -> None:
    spec = calibrated(InputSpec("t", "1"), honest[0] * 2, honest[1], 0.7)
    assert spec.temperature == pytest.approx(2, rel=0.05)
    p = softmax(honest[0] * 2 / spec.temperature, axis=1)
    assert spec.uncertain_below == choose_threshold(p, honest[1], 0.7) > 0


def test_a_target_out_of_reach_is_an_error_when_asked_for_and_a_warning_otherwise() -> None:
    logits, labels = np.log([[0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.55, 0.45]] * 50), [1, 0, 0, 1] * 50
    with pytest.raises(UsageError, match=r"best reachable here is 66\.7%"):
        calibrated(InputSpec("t", "1"), logits, labels, 0.8)
    with pytest.warns(MienWarning, match=r"no confidence threshold .* right on 66\.7%"):
        calibrated(InputSpec("t", "1"), logits, labels)


def test_a_handful_of_faces_is_remarked_on(honest: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.warns(MienWarning, match="99 faces only"):
        calibrated(InputSpec("t", "1"), honest[0][:99], honest[1][:99], 0.5)
    with warnings.catch_warnings(action="error"):
        calibrated(InputSpec("t", "1"), honest[0][:100], honest[1][:100], 0.5)


@pytest.mark.parametrize(("labels", "bound"), [pytest.param([0, 1, 2], 0.05, id="always right"), pytest.param([0, 0, 0], 20, id="chance")])
def test_a_temperature_without_a_minimum_is_the_nearer_bound(labels: list[int], bound: float) -> None:
    assert fit_temperature(9 * np.eye(3), labels) == pytest.approx(bound, rel=1e-4)


def test_a_stored_spec_is_what_the_bundle_opens_with(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    written = write_spec(bundle, bundle.spec.updated(temperature=1.75))
    assert open_bundle(tmp_path).spec == written.spec
    assert written.spec.temperature == 1.75
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "spec.json"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: fit_temperature(np.zeros((0, 7)), []), "at least one face", id="no faces"),
        pytest.param(lambda: fit_temperature([[1.0, 0]], [0, 1]), r"\(1, 2\) and \(2,\)", id="another number of labels"),
        pytest.param(lambda: fit_temperature([[1.0, 0]], [2]), "from 0 to 1, got 2 to 2", id="label outside the classes"),
        pytest.param(lambda: fit_temperature([[np.inf, 0], [0, 1]], [0, 1]), "expected finite logits", id="endless logits"),
        pytest.param(lambda: choose_threshold([[0.9, 0.1]], [0], 0), r"in \(0, 1\], got 0", id="no accuracy at all"),
        pytest.param(lambda: fit_temperature([[-9.0, 9], [9, -9]] * 9, [0, 1] * 9), "same order", id="labels in another order"),
        pytest.param(lambda: choose_threshold([[0.9, 0.1]], [0], 80), r"in \(0, 1\], got 80", id="per cent instead of a share"),
        pytest.param(lambda: choose_threshold([[0.9, 0.1], [0.8, 0.2]], [1, 0], 0.8), "best reachable here is 50.0%", id="out of reach"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
