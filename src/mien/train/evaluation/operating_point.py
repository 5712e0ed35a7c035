"""Chooses how the two heads of a network are mixed into one answer: the operating point of the shipped ``default``.

One head answers FER2013's labels. The other answers the votes of FER+'s raters on the same pictures. FER2013's labels come from search
words and call many neutral faces angry, sad or afraid. The votes say what people see, but a network that learns them rarely answers a rare
label. Two numbers set a point between these extremes, and this module chooses them:

``tau``, the strength of logit adjustment (Menon et al. 2021, arXiv:2007.07314, equation 9): the log of each label's share among the
training votes is subtracted ``tau`` times. 0 keeps the shares of the training images, 1 is the optimum for the mean recall.

``share``, the weight of FER2013's head: its calibrated log probabilities are added ``share`` times.

Both are linear in the logits of the heads. So the answer is one more linear head, and every engine computes the same result.

A network may have only FER2013's head. Its log probabilities are then shifted from the label shares of FER2013 to those of the votes
(label shift, Saerens et al. 2002, doi:10.1162/089976602753284446), and ``tau`` works as above. This is as close to the answer of two heads
as one head allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.classify import softmax
from mien.errors import UsageError
from mien.train.data.dataset import ferplus_targets
from mien.train.data.splits import FERPLUS_NAMES
from mien.train.evaluation import metrics
from mien.train.evaluation.calibrate import PHOTO_ACCURACY, choose_threshold, fit_temperature

TAUS = tuple(round(0.05 * step, 2) for step in range(31))  # 0 to 1.5
SHARES = tuple(round(0.05 * step, 2) for step in range(11))  # 0 to 0.5
FOLDS = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """A rule that turns the logits of two heads into one answer.

    ``labels`` are the labels of the answer. ``votes_temperature`` and ``own_temperature`` divide the logits of the heads. ``log_shares``
    are the logs of the labels' shares among the training votes. The module docstring explains ``tau`` and ``share``. ``own_log_shares``
    are the logs of the shares among FER2013's labels for a network with only that head, and None for a network with both.
    """

    labels: tuple[str, ...]
    tau: float
    share: float
    votes_temperature: float
    own_temperature: float
    log_shares: tuple[float, ...]
    own_log_shares: tuple[float, ...] | None = None

    def linear(self) -> tuple[Floats, Floats, Floats]:
        """Return (A (8, L), B (L, L), offset (L,)): the answer is ``votes @ A + own @ B + offset``."""
        picked = np.eye(len(FERPLUS_NAMES))[:, [FERPLUS_NAMES.index(label) for label in self.labels]]
        own = np.eye(len(self.labels)) / self.own_temperature
        shares = np.asarray(self.log_shares)
        if self.own_log_shares is not None:
            return 0 * picked, own, (1 - self.tau) * shares - np.asarray(self.own_log_shares)
        return picked / self.votes_temperature, self.share * own, -self.tau * shares

    def answer(self, votes: NDArray[Any], own: NDArray[Any]) -> Floats:
        """Return logits (N, L) from the logits of the votes head (N, 8) and of FER2013's head (N, L)."""
        a, b, offset = self.linear()
        return np.asarray(np.asarray(votes, np.float64) @ a + np.asarray(own, np.float64) @ b + offset)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Faces:
    """Faces that score an operating point: logits of both heads, (N, 8) and (N, L), and the right answers, indices (N,).

    ``people`` (N,) says who is in each picture, if that is known. Faces of one person stay in one fold. ``labels_judged`` are the indices
    of the labels in the mean recall; None means all labels that occur.
    """

    votes: NDArray[np.float32]
    own: NDArray[np.float32]
    truth: NDArray[np.int64]
    people: NDArray[np.str_] | None = None
    labels_judged: tuple[int, ...] | None = None

    def only(self, rows: NDArray[np.bool_]) -> Faces:
        """Return some of the faces. The labels in the mean recall stay the same."""
        people = None if self.people is None else self.people[rows]
        return Faces(self.votes[rows], self.own[rows], self.truth[rows], people, self.labels_judged)

    def figures(self, point: OperatingPoint) -> tuple[float, float]:
        """Return (accuracy, mean recall of the judged labels)."""
        right = point.answer(self.votes, self.own).argmax(1) == self.truth
        judged = self.labels_judged or tuple(np.unique(self.truth).tolist())
        recalls = [right[self.truth == label].mean() for label in judged if (self.truth == label).any()]
        return float(right.mean()), float(np.mean(recalls))


@dataclass(frozen=True)
class Evidence:
    """Faces that choose the point: photos, crops whose FER+ raters agree, and crops with FER2013's labels (for acted faces)."""

    photos: Faces
    agreed: Faces
    acted: Faces

    def score(self, point: OperatingPoint) -> float:
        """Return the mean of 5 figures: accuracy and mean recall on photos and agreed crops, mean recall on acted faces."""
        return float(np.mean([*self.photos.figures(point), *self.agreed.figures(point), self.acted.figures(point)[1]]))


def log_shares(train_votes: NDArray[np.float32], labels: Sequence[str]) -> tuple[float, ...]:
    """Return the log of each label's mean share of the FER+ votes (N, 10) on training images, without contempt.

    Raises:
        UsageError: a label has no votes on any training image.
    """
    targets, weights = ferplus_targets(train_votes)
    shares = (targets * weights[:, None]).sum(0)[[FERPLUS_NAMES.index(label) for label in labels]]
    if not (shares > 0).all():
        raise UsageError(f"no training image has a FER+ vote for {labels[int(np.argmin(shares))]!r}; expected the votes of all of FER2013")
    return tuple(float(value) for value in np.log(shares / shares.sum()))


def best_on_grid(evidence: Evidence, start: OperatingPoint) -> OperatingPoint:
    """Return the point with the highest :meth:`Evidence.score` among those that differ from ``start`` in ``tau`` and ``share``.

    The grid is :data:`TAUS` x :data:`SHARES`, or :data:`TAUS` for a network with one head. On a tie, the smallest values win.
    """
    shares = SHARES if start.own_log_shares is None else (start.share,)
    points = [replace(start, tau=tau, share=share) for tau, share in product(TAUS, shares)]
    return max(points, key=lambda point: round(evidence.score(point), 12))


def cross_validated(evidence: Evidence, start: OperatingPoint, folds: int = FOLDS) -> list[dict[str, float]]:
    """Return, for each fold of people, the point that is chosen without them, and its figures on their photos.

    Keys: tau, share, n, accuracy, mean_recall, and of the temperature and the threshold that the other folds give: coverage (share of
    photos that are answered with certainty), right (share of these answers that are right) and ece. Every choice uses all crops, because
    the people of the photos are not in them.

    Raises:
        UsageError: the photos have no names of people.
    """
    photos = evidence.photos
    if photos.people is None:
        raise UsageError("cross-validation needs to know who is in each photo; add --people FILE, a CSV with the columns file,person")
    names = np.unique(photos.people)
    fold_of = dict(zip(np.random.default_rng(0).permutation(names).tolist(), np.arange(len(names)) % folds, strict=True))
    fold = np.array([fold_of[name] for name in photos.people.tolist()])
    rows = []
    for number in range(folds):
        held = photos.only(fold == number)
        chosen = best_on_grid(Evidence(photos.only(fold != number), evidence.agreed, evidence.acted), start)
        accuracy, recall = held.figures(chosen)
        row = {"tau": chosen.tau, "share": chosen.share, "n": len(held.truth), "accuracy": accuracy, "mean_recall": recall}
        rows.append(row | _certainty(chosen, photos.only(fold != number), evidence.agreed, held))
    return rows


def _certainty(point: OperatingPoint, photos: Faces, crops: Faces, held: Faces) -> dict[str, float]:
    """Return coverage, right and ece on ``held`` photos, calibrated on other photos and on crops."""
    known, agreed, unseen = (point.answer(faces.votes, faces.own) for faces in (photos, crops, held))
    temperature = fit_temperature(np.concatenate([agreed, known]), np.concatenate([crops.truth, photos.truth]))
    threshold = choose_threshold(softmax(known, temperature), photos.truth, PHOTO_ACCURACY)
    p = softmax(unseen, temperature)
    sure = p.max(1) >= threshold
    right = p.argmax(1) == held.truth
    return {"coverage": float(sure.mean()), "right": float(right[sure].mean()) if sure.any() else 0.0, "ece": metrics.ece(p, held.truth)}
