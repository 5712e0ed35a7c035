"""Compares two models on the same faces: which model is better, how certain that is, and where they disagree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from mien.errors import UsageError
from mien.train.evaluation.evaluate import Evaluation
from mien.train.evaluation.metrics import Z95, share


def mcnemar(only_a: int, only_b: int) -> dict[str, float]:
    """Return {exact, mid_p}: two-sided p-values for the hypothesis that both models are right equally often.

    Only A is right on ``only_a`` faces, and only B on ``only_b`` faces. Under the hypothesis, each such face is a fair coin toss (McNemar
    1947, doi:10.1007/BF02295996). The mid-p value counts only half the probability of the observed outcome, so it is less conservative
    (Fagerland et al. 2013, doi:10.1186/1471-2288-13-91).

    >>> {name: round(p, 4) for name, p in mcnemar(2, 10).items()}
    {'exact': 0.0386, 'mid_p': 0.0225}
    """
    n, k = only_a + only_b, min(only_a, only_b)
    tail = 2 * float(binom.cdf(k, n, 0.5))
    return {"exact": min(1.0, tail), "mid_p": min(1.0, tail - float(binom.pmf(k, n, 0.5)))}


def paired_difference(only_a: int, only_b: int, total: int) -> tuple[float, float, float]:
    """Return (difference, low, high) of the accuracies A - B on the same ``total`` faces.

    The interval is the adjusted Wald interval for paired shares (Bonett & Price 2012, doi:10.3102/1076998611411915).

    >>> [round(value, 4) for value in paired_difference(10, 2, 100)]
    [0.08, 0.0082, 0.1487]
    """
    a, b = (only_a + 1) / (total + 2), (only_b + 1) / (total + 2)
    half = Z95 * math.sqrt((a + b - (a - b) ** 2) / (total + 2))
    return (only_a - only_b) / total, a - b - half, a - b + half


def compare(a: Evaluation, b: Evaluation, split_name: str) -> dict[str, Any]:
    """Return how two evaluations of the same faces differ on one split, JSON-ready.

    Keys: split, n, accuracy of ``a`` and ``b``, both_right, only_a, only_b, both_wrong, difference {value, low, high} of A - B, p
    (:func:`mcnemar`), agreement (share of equal answers), by_label (label -> n, only_a, only_b) and disagreements (A's answer, B's
    answer, how often, and which model was right). Labels have A's order; B may have another order.

    Raises:
        UsageError: one evaluation lacks the split, or the two have different faces or different labels.
    """
    try:
        one, other = ({split.name: split for split in e.splits}[split_name] for e in (a, b))
    except KeyError:
        raise UsageError(f"both evaluations need the split {split_name!r}") from None
    if set(one.label_names) != set(other.label_names) or not np.array_equal(one.rows, other.rows):
        raise UsageError("the two models were evaluated on other faces or other labels; evaluate both on the same data and split")
    names, labels = one.label_names, one.labels
    order = [other.label_names.index(name) for name in names]
    says_a, says_b = a.probabilities_of(one).argmax(1), b.probabilities_of(other)[:, order].argmax(1)
    right_a, right_b = says_a == labels, says_b == labels
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    value, low, high = paired_difference(only_a, only_b, len(labels))
    return {
        "split": split_name,
        "n": len(labels),
        "a": share(int(right_a.sum()), len(labels)),
        "b": share(int(right_b.sum()), len(labels)),
        "both_right": int((right_a & right_b).sum()),
        "only_a": only_a,
        "only_b": only_b,
        "both_wrong": int((~right_a & ~right_b).sum()),
        "difference": {"value": value, "low": low, "high": high},
        "p": mcnemar(only_a, only_b),
        "agreement": float((says_a == says_b).mean()),
        "by_label": {
            name: {
                "n": int((labels == i).sum()),
                "only_a": int((right_a & ~right_b & (labels == i)).sum()),
                "only_b": int((right_b & ~right_a & (labels == i)).sum()),
            }
            for i, name in enumerate(names)
        },
        "disagreements": _disagreements(says_a, says_b, labels, names),
    }


def _disagreements(says_a: ArrayLike, says_b: ArrayLike, labels: ArrayLike, names: tuple[str, ...]) -> list[dict[str, Any]]:
    a, b, y = np.asarray(says_a), np.asarray(says_b), np.asarray(labels)
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names)) if i != j]
    rows = [
        {
            "a": names[i],
            "b": names[j],
            "n": int(((a == i) & (b == j)).sum()),
            "a_right": int(((a == i) & (b == j) & (y == i)).sum()),
            "b_right": int(((a == i) & (b == j) & (y == j)).sum()),
        }
        for i, j in pairs
    ]
    return sorted((row for row in rows if row["n"]), key=lambda row: -row["n"])
