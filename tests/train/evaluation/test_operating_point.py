"""The rule that mixes two heads does what it says on faces whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from mien.contract import LABELS
from mien.errors import UsageError
from mien.train.data.splits import FERPLUS_NAMES
from mien.train.evaluation.operating_point import (
    Evidence,
    Faces,
    OperatingPoint,
    best_on_grid,
    cross_validated,
    log_shares,
)

SHARES = np.array([0.09, 0.01, 0.03, 0.27, 0.34, 0.14, 0.12])


def point(**changes: object) -> OperatingPoint:
    values = {"tau": 0.0, "share": 0.0, "votes_temperature": 1.0, "own_temperature": 1.0, "log_shares": tuple(np.log(SHARES))}
    return OperatingPoint(LABELS, **{**values, **changes})  # type: ignore[arg-type]


def faces(count: int, shares: np.ndarray, seed: int, people: int | None = None) -> Faces:
    """Faces whose votes' head answers the exact log posterior under the training shares, and whose own head is noise."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(LABELS), count, p=shares)
    evidence = rng.normal(0, 1, (count, len(LABELS)))
    evidence[np.arange(count), truth] += 1.5
    posterior = 1.5 * evidence + np.log(SHARES)
    votes = np.full((count, len(FERPLUS_NAMES)), -9.0, np.float32)
    votes[:, [FERPLUS_NAMES.index(label) for label in LABELS]] = posterior
    who = None if people is None else rng.integers(0, people, count).astype(str)
    return Faces(votes, rng.normal(0, 1, (count, len(LABELS))).astype(np.float32), truth, who)


def test_the_answer_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    votes, own = rng.normal(size=(5, 8)), rng.normal(size=(5, 7))
    rule = point(tau=0.7, share=0.2, votes_temperature=0.5, own_temperature=2.0)
    seven = votes[:, [FERPLUS_NAMES.index(label) for label in LABELS]]
    assert rule.answer(votes, own) == pytest.approx(seven / 0.5 + 0.2 * own / 2.0 - 0.7 * np.log(SHARES))


def test_a_full_adjustment_is_the_best_mean_recall_and_none_the_best_accuracy() -> None:
    many = faces(20_000, SHARES, 1)
    accuracy, recall = zip(*(many.figures(point(tau=tau)) for tau in (0.0, 0.5, 1.0, 1.5)), strict=True)
    assert max(accuracy) == accuracy[0]
    assert max(recall) == recall[2]


def test_the_grid_finds_the_point_of_the_highest_score() -> None:
    evidence = Evidence(faces(800, SHARES, 2), faces(800, SHARES, 3), faces(800, np.full(7, 1 / 7), 4))
    chosen = best_on_grid(evidence, point())
    assert 0 < chosen.tau <= 1.5
    assert chosen.share <= 0.1  # the other head is noise
    assert evidence.score(chosen) >= max(evidence.score(point(tau=tau)) for tau in (0.0, 0.3, 1.0))


def test_rare_labels_of_the_photos_do_not_choose() -> None:
    some = faces(300, SHARES, 5)
    common = Faces(some.votes, some.own, some.truth, labels_judged=(3, 4))
    right = point().answer(some.votes, some.own).argmax(1) == some.truth
    assert common.figures(point())[1] == pytest.approx(np.mean([right[some.truth == label].mean() for label in (3, 4)]))


def test_one_person_is_never_on_both_sides_of_a_fold() -> None:
    photos = faces(600, SHARES, 6, people=40)
    rows = cross_validated(Evidence(photos, faces(300, SHARES, 7), faces(300, SHARES, 8)), point(), folds=4)
    assert sum(row["n"] for row in rows) == 600
    assert photos.people is not None
    sizes = {np.isin(photos.people, group).sum() for group in np.array_split(np.unique(photos.people), 4)}
    assert len(sizes) > 1  # people have different numbers of photos, so folds of people differ
    assert len({row["n"] for row in rows}) > 1
    with pytest.raises(UsageError, match="--people FILE"):
        cross_validated(Evidence(faces(9, SHARES, 1), faces(9, SHARES, 1), faces(9, SHARES, 1)), point())


def test_a_network_with_one_head_is_moved_to_the_shares_of_the_votes() -> None:
    own_shares = np.full(7, 1 / 7)
    rng = np.random.default_rng(9)
    likelihood = rng.normal(size=(50, 7))
    rule = point(share=1.0, own_log_shares=tuple(np.log(own_shares)))
    moved = rule.answer(np.zeros((50, 8)), likelihood + np.log(own_shares))
    wanted = likelihood + np.log(SHARES)  # Bayes' rule with the other shares
    assert moved - moved.mean(1, keepdims=True) == pytest.approx(wanted - wanted.mean(1, keepdims=True))


def test_shares_come_from_the_votes_and_a_label_without_any_is_named() -> None:
    votes = np.zeros((4, 10), np.float32)
    votes[:, :7] = 2
    assert np.exp(log_shares(votes, LABELS)) == pytest.approx(np.full(7, 1 / 7))
    votes[:, 5] = 0
    with pytest.raises(UsageError, match="'disgust'"):
        log_shares(votes, LABELS)
