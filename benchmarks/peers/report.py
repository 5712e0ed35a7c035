"""Turns predictions and costs into figures, tables and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.inputs import Inputs
from benchmarks.peers.roster import NEEDS_DOWNLOAD
from benchmarks.peers.runs import Prediction
from benchmarks.scenes import MATCH_IOU, Scene
from benchmarks.timing import markdown
from mien.contract import LABELS
from mien.geometry import iou
from mien.train.evaluation.metrics import summary

Figures = dict[str, Any]


def quality(prediction: Prediction, inputs: Inputs) -> Figures:
    """Return accuracy {value, low, high} on all and on clean crops, macro-F1, ECE (None without probabilities) and found faces."""
    totals = prediction.scores.sum(1, keepdims=True)
    probabilities = np.divide(prediction.scores, totals, out=np.full_like(prediction.scores, 1 / len(LABELS)), where=totals > 0)
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
        parts += [main_table(done), ratios(done), found_table(done)]
        parts.append("What ran, and what a fresh install needed:\n\n" + "\n".join(_how(row) for row in done))
    if failed := [row for row in rows if "failure" in row]:
        parts.append(
            markdown(("could not run here", "why"), [(f"{row['name']}, `{row['requirement']}`", f"`{row['failure']}`") for row in failed])
        )
    parts.append(markdown(("not runnable without a further download", "why"), list(NEEDS_DOWNLOAD.items())))
    parts.append(f"{result['machine']}.")
    return "\n\n".join(part for part in parts if part)


def sorted_rows(result: Figures) -> list[Figures]:
    """Return the rows with figures, the most accurate first."""
    return sorted((row for row in result["rows"] if "failure" not in row), key=lambda row: -row["quality"]["accuracy"]["value"])


def main_table(done: Sequence[Figures]) -> str:
    """Return the table of accuracy, time, memory and size."""
    head = (
        *("", "version", "accuracy, % (95 % interval)", "clean, %", "macro-F1", "ECE"),
        *("ms a face", "at best batch", "ms a photo", "peak MB", "installed MB", "weights MB"),
    )
    return markdown(head, [_row(row) for row in done])


def found_table(done: Sequence[Figures]) -> str:
    """Return the table of the faces that each peer finds in photos and scenes, and how many of them it labels correctly."""
    photos = len(done[0]["quality"]["photos"]["reported"])
    head = ("", f"faces reported in {photos} photos", "found in scenes", "false boxes", "right label, of all faces")
    return markdown(head, [_found(row) for row in done])


def ratios(done: Sequence[Figures]) -> str:
    """Return the time of each peer for a whole 640x480 photo, as a multiple of the time of Mien's first row."""
    ours = next((row for row in done if row["adapter"] == "with_mien.py"), None)
    others = [row for row in done if row["adapter"] != "with_mien.py"]
    if ours is None or not others:
        return ""
    times = sorted(((photo_ms(row) / photo_ms(ours), row["name"]) for row in others), reverse=True)
    told = ", ".join(f"{name} {ratio:.1f}" for ratio, name in times)
    return f"Time of a whole 640x480 photo, as a multiple of {ours['name']}: {told}."


def photo_ms(row: Figures) -> float:
    """Return the mean over the photos of the median time of each photo."""
    return float(np.mean(row["cost"]["photo_ms"]))


def picture(result: Figures, file: Path) -> None:
    """Draw the accuracy against the time per face and the time per photo."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    done = sorted_rows(result)
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    sides = (
        ("ms a face, batch 1", lambda row: row["cost"]["face_ms"]["1"]),
        ("ms a 640x480 photo, whole pipeline", photo_ms),
    )
    for axis, (title, value) in zip(axes, sides, strict=True):
        named: list[tuple[float, float]] = []
        for row in done:
            accuracy = row["quality"]["accuracy"]
            level, colour = 100 * accuracy["value"], "C1" if row["adapter"] == "with_mien.py" else "C0"
            error = [[level - 100 * accuracy["low"]], [100 * accuracy["high"] - level]]
            axis.errorbar(value(row), level, error, fmt="o", color=colour, capsize=3)
            crowded = any(abs(level - other) < 1.5 and 0.4 < value(row) / there < 2.5 for there, other in named)  # the better one is above
            named.append((value(row), level))
            place = {"textcoords": "offset points", "fontsize": 9, "va": "top" if crowded else "bottom"}
            axis.annotate(row["name"].replace("*", ""), (value(row), level), (7, -5 if crowded else 5), **place)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(ticker.ScalarFormatter())
        axis.margins(x=0.25, y=0.1)
        axis.set_xlabel(f"{title}, one thread (log scale)")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("FER2013 PrivateTest accuracy, %")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _row(row: Figures) -> tuple[str, ...]:
    q, c = row["quality"], row["cost"]
    best = min(c["face_ms"], key=lambda size: c["face_ms"][size])
    a = q["accuracy"]
    return (
        row["name"],
        row["version"],
        f"{100 * a['value']:.2f} ({100 * a['low']:.2f} to {100 * a['high']:.2f})",
        f"{100 * q['clean']['value']:.2f}",
        f"{q['macro_f1']:.3f}",
        "none" if q["ece"] is None else f"{q['ece']:.3f}",
        f"{c['face_ms']['1']:.2f}",
        f"{c['face_ms'][best]:.2f} ({best})",
        f"{photo_ms(row):.0f}",
        f"{c['peak_mb']:,.0f}",
        f"{row['installed_mb']:,.0f}",
        f"{row['weights_mb']:.2f}",
    )


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
    return f"- {row['name']}: {row['how']}. {versions}." + (f" {repairs}." if repairs else "")
