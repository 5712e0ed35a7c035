from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mien.contract import LABELS
from mien.errors import UsageError
from mien.train.data import dataset as datasets
from mien.train.data import splits
from mien.train.evaluation import evaluate
from mien.train.evaluation.compare import compare, mcnemar, paired_difference
from tests.train import made_up


@pytest.mark.parametrize(
    ("only_a", "only_b"),
    [
        pytest.param(0, 0, id="never apart"),
        pytest.param(5, 5, id="even"),
        pytest.param(1, 9, id="few"),
        pytest.param(230, 310, id="the size of a real comparison"),
        pytest.param(600, 640, id="beyond the range of floats"),
    ],
)
def test_mcnemar_agrees_with_exact_fractions(only_a: int, only_b: int) -> None:
    n, k = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, i) for i in range(k + 1))
    exact = min(1, Fraction(2 * tail, 2**n))
    mid_p = min(1, Fraction(2 * tail - math.comb(n, k), 2**n))
    assert mcnemar(only_a, only_b) == pytest.approx({"exact": float(exact), "mid_p": float(mid_p)})


def test_the_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(300, (0.15, 0.1, 0.75), size=2000)
    inside = [low <= 0.05 <= high for a, b, _ in counts for _, low, high in [paired_difference(int(a), int(b), 300)]]
    assert 0.935 < np.mean(inside) < 0.965


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("home")
    made_up.fer2013(root / "data")
    made_up.brightness_bundle(root / "good")
    made_up.brightness_bundle(root / "worse", shift=0.4)
    made_up.brightness_bundle(root / "backwards", labels=LABELS[::-1])
    return root


@pytest.fixture(scope="module")
def judged(home: Path) -> dict[str, evaluate.Evaluation]:
    faces = datasets.load(home / "data", cache=home / "cache")
    models = {name: evaluate.open_model(home / name) for name in ("good", "worse", "backwards")}
    return {name: evaluate.evaluate(m, faces, [splits.select(faces, "private", m.spec.labels)]) for name, m in models.items()}


def test_counts_agree_with_a_loop_over_faces(judged: dict[str, evaluate.Evaluation]) -> None:
    a, b = judged["good"], judged["worse"]
    got = compare(a, b, "private")
    y = a.splits[0].labels
    says = list(zip(a.logits.argmax(1), b.logits.argmax(1), y, strict=True))
    assert got["only_a"] == sum(i == k != j for i, j, k in says)
    assert got["only_b"] == sum(j == k != i for i, j, k in says)
    assert got["both_right"] == sum(i == j == k for i, j, k in says)
    assert got["difference"]["value"] == pytest.approx(got["a"]["value"] - got["b"]["value"])
    assert got["difference"]["low"] > 0
    assert got["p"]["exact"] < 0.05
    assert sum(row["n"] for row in got["disagreements"]) == sum(i != j for i, j, _ in says)
    assert sum(row["a_right"] for row in got["disagreements"]) == got["only_a"] == sum(row["only_a"] for row in got["by_label"].values())


def test_a_model_is_equal_to_itself(judged: dict[str, evaluate.Evaluation]) -> None:
    got = compare(judged["good"], judged["good"], "private")
    assert got["difference"]["value"] == got["only_a"] == got["only_b"] == 0
    assert got["agreement"] == got["p"]["exact"] == 1
    assert got["disagreements"] == []


def test_labels_in_another_order_are_the_same_labels(judged: dict[str, evaluate.Evaluation]) -> None:
    a, b = judged["good"], judged["backwards"]
    assert compare(a, b, "private")["b"]["value"] == b.metrics["splits"]["private"]["accuracy"]["value"]


def test_other_labels_are_refused(home: Path, judged: dict[str, evaluate.Evaluation]) -> None:
    made_up.brightness_bundle(home / "foreign", labels=(*LABELS[:6], "awe"))
    model = evaluate.open_model(home / "foreign")
    faces = datasets.load(home / "data", cache=home / "cache")
    split = replace(splits.select(faces, "private", LABELS), label_names=model.spec.labels)
    with pytest.raises(UsageError, match="other faces or other labels"):
        compare(judged["good"], evaluate.evaluate(model, faces, [split]), "private")


def test_a_missing_split_is_named(judged: dict[str, evaluate.Evaluation]) -> None:
    with pytest.raises(UsageError, match="'public'"):
        compare(judged["good"], judged["worse"], "public")
