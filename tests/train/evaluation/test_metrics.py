"""Every figure against an independent computation: scikit-learn where it has one, a few plain lines where it has not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from mien.errors import UsageError
from mien.train.evaluation import metrics

NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray]:
    """600 faces whose probabilities lean towards their labels; class d is rare."""
    rng = np.random.default_rng(3)
    labels = rng.choice(4, 600, p=(0.4, 0.35, 0.22, 0.03))
    odds = rng.gamma(0.7, size=(600, 4))
    odds[np.arange(600), labels] += rng.gamma(1.0, size=600)
    return odds / odds.sum(1, keepdims=True), labels


def test_summary_agrees_with_scikit_learn(faces: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = faces
    guess = p.argmax(1)
    got = metrics.summary(p, y, NAMES)
    assert got["n"] == 600
    assert got["accuracy"]["value"] == pytest.approx(reference.accuracy_score(y, guess))
    assert got["macro_f1"] == pytest.approx(reference.f1_score(y, guess, average="macro"))
    assert got["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, guess))
    assert got["top2"] == pytest.approx(reference.top_k_accuracy_score(y, p, k=2))
    assert got["log_loss"] == pytest.approx(reference.log_loss(y, p))
    assert got["confusion"] == reference.confusion_matrix(y, guess).tolist()
    precision, recall, f1, support = reference.precision_recall_fscore_support(y, guess)
    for i, name in enumerate(NAMES):
        assert got["per_class"][name] == pytest.approx({"precision": precision[i], "recall": recall[i], "f1": f1[i], "support": support[i]})


def test_ece_and_bins_agree_with_a_loop_over_faces(faces: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = faces
    total = 0.0
    for i in range(15):
        inside = [n for n in range(600) if i / 15 < p[n].max() <= (i + 1) / 15]
        if inside:
            total += abs(sum(p[n].max() for n in inside) - sum(p[n].argmax() == y[n] for n in inside)) / 600
    assert metrics.ece(p, y) == pytest.approx(total)
    bins = metrics.reliability(p, y)
    assert bins.count.sum() == 600
    assert np.isnan(bins.accuracy[bins.count == 0]).all()


def test_chance_alone_shows_the_ece_that_is_said(faces: tuple[np.ndarray, np.ndarray]) -> None:
    p, _ = faces
    rng = np.random.default_rng(0)
    drawn = (p.cumsum(1)[None] > rng.random((300, len(p), 1))).argmax(2)  # labels that the probabilities tell the truth about
    shown = [metrics.ece(p, np.minimum(y, p.shape[1] - 1)) for y in drawn]
    assert metrics.ece_by_chance(p) == pytest.approx(np.mean(shown), rel=0.05)


def test_risk_coverage_agrees_with_a_loop_over_thresholds(faces: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = faces
    curve = metrics.risk_coverage(p, y)
    for i in (0, 10, 300, len(curve.threshold) - 1):
        keep = p.max(1) >= curve.threshold[i]
        assert curve.coverage[i] == pytest.approx(keep.mean())
        assert curve.risk[i] == pytest.approx((p.argmax(1) != y)[keep].mean())
        assert metrics.selective_accuracy(p, y, float(curve.threshold[i]))["accuracy"]["value"] == pytest.approx(1 - curve.risk[i])


def test_equal_confidences_are_kept_together() -> None:
    curve = metrics.risk_coverage([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4]], [0, 0, 1])
    assert curve.threshold.tolist() == [0.9, 0.6]
    assert curve.coverage.tolist() == pytest.approx([1 / 3, 1])
    assert curve.risk.tolist() == pytest.approx([0, 1 / 3])


@pytest.mark.parametrize(
    ("hits", "total", "expected"),
    [
        pytest.param(0, 0, (0.0, 1.0), id="no faces: nothing is known"),
        pytest.param(0, 20, (0.0, 0.1611), id="none right: the lower bound stays at 0"),
        pytest.param(20, 20, (0.8389, 1.0), id="all right: the upper bound stays at 1"),
        pytest.param(2440, 3589, (0.6644, 0.6949), id="the size of PrivateTest: about 1.5 points either side"),
    ],
)
def test_wilson(hits: int, total: int, expected: tuple[float, float]) -> None:
    assert metrics.wilson(hits, total) == pytest.approx(expected, abs=1e-4)


def test_a_class_without_faces_or_answers_does_not_count() -> None:
    got = metrics.summary([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]], [0, 1], ("x", "y", "never"))
    assert got["macro_f1"] == got["balanced_accuracy"] == 1
    assert got["per_class"]["never"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_a_class_only_ever_answered_wrongly_lowers_macro_f1_alone() -> None:
    got = metrics.summary([[0.9, 0.1], [0.2, 0.8]], [0, 0], ("x", "y"))
    assert got["macro_f1"] == pytest.approx((2 / 3) / 2)
    assert got["balanced_accuracy"] == 0.5


def test_a_certain_mistake_keeps_the_log_loss_finite() -> None:
    assert metrics.log_loss([[1.0, 0.0]], [1]) == pytest.approx(-np.log(1e-15))


def test_nothing_kept_is_said_not_divided() -> None:
    assert metrics.selective_accuracy([[0.6, 0.4]], [0], 0.9) == {"threshold": 0.9, "n": 0, "coverage": 0.0, "accuracy": None}


def test_summary_is_json_ready(faces: tuple[np.ndarray, np.ndarray]) -> None:
    got = metrics.summary(*faces, NAMES)
    assert json.loads(json.dumps(got, allow_nan=False)) == got


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        pytest.param(np.zeros((0, 2)), [], "at least one face", id="empty"),
        pytest.param([[0.5, 0.5]], [0, 1], r"\(1, 2\) and \(2,\)", id="one label too many"),
        pytest.param([[0.5, 0.5]], [2], "from 0 to 1, got 2 to 2", id="label outside the classes"),
        pytest.param([[0.5, 0.5]], [-1], "from 0 to 1, got -1 to -1", id="label below zero"),
        pytest.param([[0.5, 0.5], [np.nan, np.nan]], [0, 0], "infinity for 1 of 2 faces", id="a network whose numbers ran away"),
        pytest.param([[0.5, 0.3, 0.2]], [0], "3 columns and 2 labels", id="another number of classes"),
    ],
)
def test_bad_input_is_named(probabilities: object, labels: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        metrics.summary(probabilities, labels, ("x", "y"))
