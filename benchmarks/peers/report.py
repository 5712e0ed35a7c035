"""Turns predictions and costs into figures, tables and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environments import PeerError
from benchmarks.peers.inputs import Inputs, PhotoSet
from benchmarks.peers.roster import NEEDS_DOWNLOAD
from benchmarks.peers.runs import Prediction
from benchmarks.scenes import MATCH_IOU, Scene
from benchmarks.timing import markdown
from mien.bundles import DEFAULT
from mien.contract import LABELS
from mien.geometry import iou
from mien.train.evaluation.metrics import share, summary
from mien.train.evaluation.photos import MIN_FACES

Figures = dict[str, Any]
NONE = "-"  # a figure that was not measured
KEPT = {"quality": "crops, pictures and scenes", "whole_photos": "whole photos", "cost": "times and memory"}


def quality(prediction: Prediction, inputs: Inputs) -> Figures:
    """Return accuracy {value, low, high} on all crops and on the clean ones, macro-F1, ECE (None without probabilities), faces found."""
    probabilities = _shares(prediction.scores)
    every = summary(probabilities, inputs.labels, LABELS)
    clean = summary(probabilities[inputs.clean], inputs.labels[inputs.clean], LABELS)
    return {
        "n": every["n"],
        "clean_n": clean["n"],
        "accuracy": every["accuracy"],
        "clean": clean["accuracy"],
        "macro_f1": every["macro_f1"],
        "ece": every["ece"] if prediction.gives_probabilities else None,
        "photos": {"faces": sum(inputs.face_counts), "reported": [len(faces) for faces in prediction.photos]},
        "scenes": in_scenes(inputs.made, prediction.scenes, inputs.labels),
    }


def on_photos(answers: Sequence[Sequence[Figures] | str], photos: PhotoSet) -> Figures:
    """Return the figures of whole photos: of each, the face with the largest box counts, and a photo without an answer counts as wrong.

    Keys: n, every, accuracy and answered_accuracy {value, low, high}, mean_recall {labels, value, low, high}, recall and support (by
    label), no_face, failed (photos on which the peer's code raised an error) and unreadable. The mean recall is over the labels that have
    :data:`mien.train.evaluation.photos.MIN_FACES` photos in the whole folder.

    Args:
        answers: of each photo its faces {box_xyxy, scores}, or an error as text.
        photos: the photos and their labels.

    Raises:
        PeerError: no photo was answered, or a score is not finite.
    """
    largest = [None if isinstance(faces, str) or not faces else max(faces, key=_area) for faces in answers]
    scored = [None if face is None else np.asarray(face["scores"], np.float64) for face in largest]
    if any(scores is not None and not np.isfinite(scores).all() for scores in scored):
        raise PeerError("expected finite scores of every face in the whole photos, got NaN or infinity")
    rows = [i for i, scores in enumerate(scored) if scores is not None and scores.sum() > 0]
    without = [i for i in range(len(scored)) if i not in set(rows)]
    if not rows:
        raise PeerError(f"answered none of {len(scored)} whole photos")
    labels = photos.labels[rows]
    probabilities = _shares(np.stack([scored[i] for i in rows]))  # type: ignore[misc]
    missing = [*photos.labels[without].tolist(), *photos.unreadable.tolist()]
    every = summary(probabilities, labels, LABELS, missing, min_faces=max(1, MIN_FACES // photos.every))
    failed = sum(isinstance(faces, str) for faces in answers)
    return {
        "n": every["n"],
        "every": photos.every,
        "accuracy": every["accuracy"],
        "answered_accuracy": share(int((probabilities.argmax(1) == labels).sum()), len(rows)),
        "mean_recall": every["mean_recall"],
        "recall": {label: figures["recall"] for label, figures in every["per_class"].items()},
        "support": {label: figures["support"] for label, figures in every["per_class"].items()},
        "no_face": len(without) - failed,
        "failed": failed,
        "unreadable": len(photos.unreadable),
    }


def in_scenes(made: Sequence[Scene], answers: Sequence[Sequence[Figures]], labels: NDArray[np.int64]) -> dict[str, int]:
    """Return counts over all scenes: pasted faces, found faces, found faces with the right label, and boxes without a pasted face.

    A box holds a pasted face if their IoU is at least 0.35. ``answers`` has one list of {box_xyxy, scores} per scene.
    """
    counts = {"faces": 0, "found": 0, "right": 0, "false": 0}
    for scene, found in zip(made, answers, strict=True):
        counts["faces"] += len(scene.faces)
        if not found:
            continue
        if not scene.faces:
            counts["false"] += len(found)
            continue
        overlap = iou([face.box_xyxy for face in scene.faces], [face["box_xyxy"] for face in found])
        best = overlap.argmax(1)
        hits = overlap.max(1) >= MATCH_IOU
        counts["found"] += int(hits.sum())
        counts["right"] += sum(
            int(np.argmax(found[box]["scores"]) == labels[face.row]) for face, box, hit in zip(scene.faces, best, hits, strict=True) if hit
        )
        counts["false"] += int((overlap.max(0) < MATCH_IOU).sum())
    return counts


def tables(result: Figures) -> str:
    """Return the Markdown of all measurements, and of the peers that cannot run."""
    rows, done = result["rows"], sorted_rows(result)
    parts = []
    if done:
        parts += [main_table(done), ratios(done), photos_table(done), found_table(done)]
        parts.append("What ran, and what a fresh install needed:\n\n" + "\n".join(_how(row) for row in done))
    if failed := [row for row in rows if "failure" in row]:
        parts.append(
            markdown(("could not run here", "why"), [(f"{row['name']}, `{row['requirement']}`", f"`{row['failure']}`") for row in failed])
        )
    parts.append(markdown(("not runnable without a further download", "why"), list(NEEDS_DOWNLOAD.items())))
    parts.append(when(result))
    return "\n\n".join(part for part in parts if part)


def sorted_rows(result: Figures) -> list[Figures]:
    """Return the rows that have figures, those with photos first, the most accurate first."""
    done = [row for row in result["rows"] if "failure" not in row]
    return sorted(done, key=lambda row: (-_accuracy_on_photos(row), -row["quality"]["accuracy"]["value"]))


def main_table(done: Sequence[Figures]) -> str:
    """Return the table of accuracy, time, memory and size."""
    head = (
        *("", "version", "photos, % (95 % interval)", f"mean recall of {_counted(done)}, %", "recall of neutral, %"),
        *("PrivateTest, % (95 % interval)", "clean, %", "macro-F1", "ECE"),
        *("ms per face", "at best batch", "ms per photo", "peak MB", "installed MB", "weights MB"),
    )
    return markdown(head, [_row(row) for row in done])


def short_table(done: Sequence[Figures]) -> str:
    """Return what a reader chooses by: accuracy on photos and crops, time and size."""
    head = ("", "photos, % (95 % interval)", f"mean recall of {_counted(done)}, %", "recall of neutral, %", "FER2013, %")
    rows = []
    for row in done:
        accuracy = f"{100 * row['quality']['accuracy']['value']:.1f}"
        rows.append((f"{row['name']} {row['version']}", *_photo_cells(row), accuracy, _photo_cost(row), f"{row['installed_mb']:,.0f}"))
    return markdown((*head, "ms per photo", "installed MB"), rows)


def photos_table(done: Sequence[Figures]) -> str:
    """Return what became of the labelled whole photos, and the recall of each label that enters the mean."""
    judged = [row for row in done if "n" in row.get("whole_photos", {})]
    if not judged:
        return ""
    labels = judged[0]["whole_photos"]["mean_recall"]["labels"]
    support = judged[0]["whole_photos"]["support"]
    head = ("", "photos", "no face, %", "right, of those with a face, %", *(f"{label}, %" for label in labels))
    rows = []
    for row in judged:
        p = row["whole_photos"]
        taken = f"{p['n']:,}" + (f" (1 of {p['every']})" if p["every"] > 1 else "")
        lost = f"{100 * p['no_face'] / p['n']:.1f}" + (f" (and {p['failed']} errors)" if p["failed"] else "")
        right = f"{100 * p['answered_accuracy']['value']:.1f}"
        rows.append((row["name"], taken, lost, right, *(f"{100 * p['recall'][label]:.0f}" for label in labels)))
    counts = ", ".join(f"{label} {count:,}" for label, count in support.items())
    return f"{markdown(head, rows)}\n\nThe last columns are the recall per label. In {judged[0]['name']}'s photos there are: {counts}."


def when(result: Figures) -> str:
    """Return the sentences on the machine and the day of the run, and on what is kept from which earlier run."""
    now = _run_words(result)
    kept: dict[str, dict[str, list[str]]] = {}
    for row in result["rows"]:
        for key, run in row.get("kept", {}).items() if "failure" not in row else ():
            if _run_words(run) != now:
                kept.setdefault(_run_words(run), {}).setdefault(KEPT[key], []).append(f"{row['name']} {run['version']}")
    sentences = [f"{now}."]
    for run, figures in kept.items():
        told = "; ".join(f"{what} of {', '.join(names)}" for what, names in figures.items())
        sentences.append(f"Kept from the run of {run}, with the models and versions of that day: {told}.")
    if untimed := [row["name"] for row in result["rows"] if "failure" not in row and "cost" not in row]:
        sentences.append(f"Not timed yet: {', '.join(untimed)}.")
    return " ".join(sentences)


def found_table(done: Sequence[Figures]) -> str:
    """Return the table of what each finds in pictures and scenes, and names rightly there."""
    photos = len(done[0]["quality"]["photos"]["reported"])
    head = ("", f"faces reported in {photos} pictures", "found in scenes", "false boxes", "right label, of all faces")
    return markdown(head, [_found(row) for row in done])


def ratios(done: Sequence[Figures]) -> str:
    """Return how many times as long each peer takes as Mien's default (or first row), for the whole way of a 640x480 picture."""
    timed = [row for row in done if "cost" in row]
    mine = [row for row in timed if row["adapter"] == "with_mien.py"]
    ours = next((row for row in mine if row["options"]["model"] == DEFAULT), mine[0] if mine else None)
    others = [row for row in timed if row["adapter"] != "with_mien.py"]
    if ours is None or not others:
        return ""
    times = sorted(((photo_ms(row) / photo_ms(ours), row["name"]) for row in others), reverse=True)
    told = ", ".join(f"{name} {ratio:.1f}" for ratio, name in times)
    return f"Time of a whole 640x480 picture, as a multiple of {ours['name']}: {told}."


def photo_ms(row: Figures) -> float:
    """Return the mean over the pictures of each one's median."""
    return float(np.mean(row["cost"]["photo_ms"]))


def picture(result: Figures, file: Path) -> None:
    """Draw accuracy on photos against the time per photo, and accuracy on crops against the time per face."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    done = sorted_rows(result)
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    sides = (
        ("accuracy on whole photos, %", "ms per 640x480 picture, whole pipeline", "whole_photos", photo_ms),
        ("FER2013 PrivateTest accuracy, %", "ms per face, batch 1", "quality", lambda row: row["cost"]["face_ms"]["1"]),
    )
    for axis, (height, title, key, value) in zip(axes, sides, strict=True):
        named: list[tuple[float, float]] = []
        for row in done:
            if "cost" not in row or "accuracy" not in row.get(key, {}):
                continue
            accuracy = row[key]["accuracy"]
            level, colour = 100 * accuracy["value"], "C1" if row["adapter"] == "with_mien.py" else "C0"
            error = [[level - 100 * accuracy["low"]], [100 * accuracy["high"] - level]]
            axis.errorbar(value(row), level, error, fmt="o", color=colour, capsize=3)
            crowded = any(abs(level - other) < 1.5 and 0.4 < value(row) / there < 2.5 for there, other in named)  # the better one is above
            named.append((value(row), level))
            place = {"textcoords": "offset points", "fontsize": 9, "va": "top" if crowded else "bottom"}
            axis.annotate(row["name"].replace("*", ""), (value(row), level), (7, -5 if crowded else 5), **place)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(ticker.ScalarFormatter())
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.margins(x=0.25, y=0.1)
        axis.set_xlabel(f"{title}, one thread (log scale)")
        axis.set_ylabel(height)
        axis.grid(alpha=0.3)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _row(row: Figures) -> tuple[str, ...]:
    q = row["quality"]
    a = q["accuracy"]
    return (
        row["name"],
        row["version"],
        *_photo_cells(row),
        f"{100 * a['value']:.2f} ({100 * a['low']:.2f} to {100 * a['high']:.2f})",
        f"{100 * q['clean']['value']:.2f}",
        f"{q['macro_f1']:.3f}",
        "none" if q["ece"] is None else f"{q['ece']:.3f}",
        *_face_cost(row),
        _photo_cost(row),
        f"{row['cost']['peak_mb']:,.0f}" if "cost" in row else NONE,
        f"{row['installed_mb']:,.0f}",
        f"{row['weights_mb']:.2f}",
    )


def _photo_cells(row: Figures) -> tuple[str, str, str]:
    """Return accuracy with its interval, mean recall and the recall of neutral, in per cent."""
    p = row.get("whole_photos", {})
    if "n" not in p:
        return NONE, NONE, NONE
    value, low, high = (100 * p["accuracy"][key] for key in ("value", "low", "high"))
    taken = f", n = {p['n']:,}" if p["every"] > 1 else ""
    return f"{value:.1f} ({low:.1f} to {high:.1f}){taken}", f"{100 * p['mean_recall']['value']:.1f}", f"{100 * p['recall']['neutral']:.0f}"


def _face_cost(row: Figures) -> tuple[str, str]:
    if "cost" not in row:
        return NONE, NONE
    times = row["cost"]["face_ms"]
    best = min(times, key=lambda size: times[size])
    return f"{times['1']:.2f}", f"{times[best]:.2f} ({best})"


def _photo_cost(row: Figures) -> str:
    return f"{photo_ms(row):.0f}" if "cost" in row else NONE


def _accuracy_on_photos(row: Figures) -> float:
    return float(row.get("whole_photos", {}).get("accuracy", {"value": -1})["value"])


def _counted(done: Sequence[Figures]) -> str:
    """Return how many labels the mean recall is over, in the words of a column's head."""
    counts = {len(row["whole_photos"]["mean_recall"]["labels"]) for row in done if "n" in row.get("whole_photos", {})}
    return f"{counts.pop()} labels" if len(counts) == 1 else "labels"


def _shares(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores (N, C) scaled to sum to 1 per row; a row of zeros becomes equal shares."""
    totals = scores.sum(1, keepdims=True)
    return np.asarray(np.divide(scores, totals, out=np.full_like(scores, 1 / scores.shape[1]), where=totals > 0))


def _run_words(run: Figures) -> str:
    return ", ".join(str(run[key]) for key in ("machine", "date") if key in run)


def _area(face: Figures) -> float:
    x0, y0, x1, y1 = face["box_xyxy"]
    return float((x1 - x0) * (y1 - y0))


def _found(row: Figures) -> tuple[str, ...]:
    photos, scenes = row["quality"]["photos"], row["quality"]["scenes"]
    faces = max(1, scenes["faces"])
    return (
        row["name"],
        f"{sum(photos['reported'])} (there are {photos['faces']})",
        f"{100 * scenes['found'] / faces:.1f} % of {scenes['faces']}",
        str(scenes["false"]),
        f"{100 * scenes['right'] / faces:.1f} %",
    )


def _how(row: Figures) -> str:
    repairs = "; ".join(f"needs `{name}`: {why}" for name, why in row["repairs"].items())
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    why = row.get("whole_photos", {}).get("failure")
    return (
        f"- {row['name']}: {row['how']}. {versions}." + (f" {repairs}." if repairs else "") + (f" On whole photos: `{why}`." if why else "")
    )
