"""Finds problems in a data set: copies, copies between train and test, conflicting labels, pictures without a face, doubtful labels.

Copies, leaks and conflicts are facts about pixels. Near copies, missing faces and doubtful labels are only candidates: a person must look
at them, and they never enter the exclusion list.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.atomic import atomic_write
from mien.detect import Detector
from mien.detect.yunet import YuNetDetector
from mien.train.data.dataset import Dataset, label_targets
from mien.train.data.splits import pixel_keys

Ints = NDArray[np.int64]
NEAR_BITS = 4  # of the 64 bits of a perceptual hash; a small crop or another JPEG quality changes up to this many
QUICK_SIDE = 96  # px; the quick search uses this side, the careful search gets the images that it misses
CHUNK = 256
FIRST = (100, 1000)  # the first of the doubtful labels, which are compared with the crowd separately


@dataclass(frozen=True)
class Finding:
    """One image and its problem. Images of one finding have the same ``group``. ``detail`` explains the problem in words."""

    row: int
    problem: str
    group: int
    detail: str


# problem -> (whether the exclusion list takes it, what it means)
PROBLEMS = {
    "copy": (True, "the same pixels as an earlier image of its side (training or test)"),
    "copy of a training image": (True, "a test image whose pixels are among the training images"),
    "conflicting labels": (True, "a training image whose pixels carry different labels"),
    "blank": (True, "all pixels are equal"),
    "near copy": (False, "almost the same picture as another"),
    "no face found": (False, "the face detector sees none"),
    "doubtful label": (False, "models that never saw the image put it elsewhere"),
}


def copies(data: Dataset) -> list[Ints]:
    """Return the groups of images with equal pixels, two or more rows each, in order of their first image."""
    _, group, count = np.unique(pixel_keys(np.asarray(data.images)), return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.cumsum(count)[:-1])
    return sorted((rows for rows in groups if len(rows) > 1), key=lambda rows: int(rows[0]))


def copy_findings(data: Dataset, groups: list[Ints]) -> Iterator[Finding]:
    """Yield the problems of the images that :func:`copies` returns."""
    train = data.splits == "train"
    for number, rows in enumerate(groups):
        for side in (rows[train[rows]], rows[~train[rows]]):
            for row in side[1:]:
                yield Finding(int(row), "copy", number, f"of {data.names[side[0]]}")
        if train[rows].any():
            for row in rows[~train[rows]]:
                yield Finding(int(row), "copy of a training image", number, f"of {data.names[rows[train[rows]][0]]}")
        labels = sorted({data.label_names[label] for label in data.labels[rows[train[rows]]]})  # no test label decides this
        if len(labels) > 1:
            for row in rows[train[rows]]:
                yield Finding(int(row), "conflicting labels", number, " and ".join(labels))


def blanks(data: Dataset) -> Iterator[Finding]:
    """Yield the images whose pixels are all equal."""
    flat = np.asarray(data.images).reshape(len(data), -1)
    for number, row in enumerate(np.flatnonzero(flat.max(1) == flat.min(1))):
        yield Finding(int(row), "blank", number, f"grey level {flat[row, 0]}")


def near_copies(data: Dataset, bits: int = NEAR_BITS) -> Iterator[Finding]:
    """Yield pairs of images that are not equal and whose 64-bit perceptual hashes differ in at most ``bits`` bits.

    The hash holds the signs of the lowest frequencies of the picture (imagehash's ``phash``). Exact copies are left out.
    """
    images = np.asarray(data.images)
    _, first = np.unique(pixel_keys(images), return_index=True)
    rows = np.sort(first[np.ptp(images[first].reshape(len(first), -1), axis=1) > 0])
    bits_of = np.array([imagehash.phash(Image.fromarray(images[row])).hash.ravel() for row in rows])
    marks = np.packbits(bits_of, axis=1).view(np.uint64).ravel()
    number = 0
    for start in range(0, len(marks), CHUNK):
        distance = np.bitwise_count(marks[start : start + CHUNK, None] ^ marks[None, start:])
        for i, j in np.argwhere(distance <= bits):
            if j > i:
                pair = rows[start + i], rows[start + j]
                for row, other in (pair, pair[::-1]):
                    yield Finding(int(row), "near copy", number, f"{distance[i, j]} bits from {data.names[other]}")
                number += 1


def face_detectors() -> list[Detector]:
    """Return detectors for :func:`faceless`: a quick search of a small copy, then a careful search."""
    return [YuNetDetector(max_side=QUICK_SIDE, threads=1), YuNetDetector(threads=1)]


def faceless(data: Dataset, detectors: Sequence[Detector]) -> Iterator[Finding]:
    """Yield the images in which no detector finds a face. Each detector gets only the images in which the previous one found no face."""

    def sees(row: int) -> bool:
        frame_rgb = np.asarray(Image.fromarray(data.images[row]).convert("RGB"))
        return any(detector.detect(frame_rgb) for detector in detectors)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = pool.map(sees, range(len(data)))
        yield from (Finding(row, "no face found", row, "by " + detectors[-1].name) for row, found in enumerate(seen) if not found)


def doubtful_labels(data: Dataset, probabilities: NDArray[np.float64]) -> Iterator[Finding]:
    """Yield labels that are probably wrong, the least probable first (confident learning, Northcutt et al. 2021, arXiv:1911.00068).

    Args:
        data: N labelled images.
        probabilities: (N, labels), each row from models that did not train on that image; see :mod:`mien.train.loop.folds`.
    """
    from cleanlab.filter import find_label_issues

    ranked = find_label_issues(data.labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    for number, row in enumerate(ranked):
        label, best = data.labels[row], probabilities[row].argmax()
        told = f"labelled {data.label_names[label]} ({probabilities[row, label]:.3f})"
        told += f", models say {data.label_names[best]} ({probabilities[row, best]:.3f})"
        yield Finding(int(row), "doubtful label", number, told)


def crowd_disagrees(data: Dataset, findings: list[Finding]) -> dict[str, dict[str, float]]:
    """Return how often FER+'s raters disagree with the labels that the models doubt, and with the other labels.

    Args:
        data: a data set with FER+ votes.
        findings: they contain the doubtful labels, the least probable first.

    Returns:
        One entry for the first doubtful labels, one for all doubtful labels and one for all other images. ``images`` counts the images
        that have votes. ``share``, 0..1, is the share of these whose label got less than half of the votes. Only votes for our labels
        count, and single votes are ignored.
    """
    assert data.votes is not None
    shares, counted = label_targets(data.votes, data.label_names)
    outvoted = shares[np.arange(len(data)), data.labels] < 0.5
    doubtful = np.array([f.row for f in findings if f.problem == "doubtful label"], np.int64)
    sides = {f"first {n} doubtful labels": doubtful[:n] for n in FIRST if n < len(doubtful)}
    sides["all doubtful labels"] = doubtful
    sides["all other labels"] = np.setdiff1d(np.arange(len(data)), doubtful)
    return {
        side: {"images": len(voted), "share": round(float(outvoted[voted].mean()), 4)}
        for side, rows in sides.items()
        if len(voted := rows[counted[rows] > 0])
    }


def summary(data: Dataset, groups: list[Ints], findings: list[Finding]) -> dict[str, Any]:
    """Return the counts of an audit, JSON-ready."""
    test = data.splits != "train"
    leaks = [f.row for f in findings if f.problem == "copy of a training image"]
    return {
        "images": len(data),
        "distinct_images": len(data) - sum(len(rows) - 1 for rows in groups),
        "duplicate_groups": len(groups),
        "groups_with_conflicting_labels": sum(len(set(data.labels[rows].tolist())) > 1 for rows in groups),
        "test_copies_of_training_images": dict(sorted(Counter(data.splits[leaks].tolist()).items())),
        "redundant_in_test": sum(f.problem == "copy" and bool(test[f.row]) for f in findings),
        "found": {problem: len({f.row for f in findings if f.problem == problem}) for problem in PROBLEMS},
        "excluded": len(excluded(findings)),
    }


def excluded(findings: list[Finding]) -> list[int]:
    """Return the rows that the exclusion list names, ascending."""
    return sorted({f.row for f in findings if PROBLEMS[f.problem][0]})


def write_findings(data: Dataset, findings: list[Finding], folder: Path) -> tuple[Path, Path]:
    """Write findings.csv (all findings) and exclude.csv (only facts about pixels, for ``--exclude``), and return the two files."""
    everything, exclusions = folder / "findings.csv", folder / "exclude.csv"
    with atomic_write(everything) as draft, draft.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["file", "problem", "split", "label", "group", "detail"])
        writer.writerows(
            [data.names[f.row], f.problem, data.splits[f.row], data.label_names[data.labels[f.row]], f.group, f.detail] for f in findings
        )
    reasons: dict[int, list[str]] = {}
    for f in findings:
        if PROBLEMS[f.problem][0]:
            reasons.setdefault(f.row, []).append(f.problem)
    with atomic_write(exclusions) as draft, draft.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["file", "reason"])
        writer.writerows([data.names[row], "; ".join(reasons[row])] for row in excluded(findings))
    return everything, exclusions
