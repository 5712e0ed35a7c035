"""How the cost grows with the work: ``python -m benchmarks.cost`` writes a table, a JSON file and docs/images/cost.png.

It measures time and peak memory against the number of faces in a photo, the size of a photo, the batch size and the number of threads.
Every point runs in a new process, so that its peak memory is its own. It uses one thread, except in the rows about threads. The last column
of each table shows how the time grows from point to point: 1 means in proportion to the work, 0 means no growth. The cost is close to
linear if the value is at most about 1.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.timing import machine, markdown, median_ms, memory_mb
from mien.align import chip
from mien.assets import demo_photo
from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.pipeline import Pipeline

RESULT = Path(__file__).parent / "results" / "cost.json"
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "cost.png"
CROWD_WH, TILE = (3200, 1600), 160  # room for 200 faces
Point = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One axis: its values, and the unit that it counts: a face, a photo or a chip."""

    title: str
    unit: str
    values: tuple[float, ...]
    note: str


ROWS = {
    "faces": Row(
        "faces in a photo of 5 MP",
        "faces",
        (1, 2, 5, 10, 20, 50, 100, 200),
        "the photo's own cost is paid once, then each face adds its chip",
    ),
    "megapixels": Row(
        "size of a photo with one face",
        "megapixels",
        (0.3, 1, 3, 6, 12, 24, 50),
        "decoding grows with the photo, detection does not: it searches a copy of limited size",
    ),
    "batch": Row(
        "chips in one call",
        "chips",
        (1, 2, 4, 8, 16, 32, 64, 128, 256),
        "calls are cut into micro-batches of 32, so memory stops growing there",
    ),
    "threads": Row("threads, 640x480 photos with one face", "threads", (), "more threads than cores gain nothing"),
}


def main() -> None:
    """Measure every point, print the tables, and write the figures and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", choices=tuple(ROWS), help="measure one axis and print it; write nothing")
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--point", nargs=2, metavar=("AXIS", "VALUE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        axis, value = options.point
        print(json.dumps(POINTS[axis](options.model, float(value), options.repeats)))
        return
    figures = {axis: measure(axis, options.model, options.repeats) for axis in ([options.only] if options.only else ROWS)}
    print(machine())
    for axis, points in figures.items():
        print(f"\n{table(axis, points)}")
    if not options.only:
        result = {"machine": machine(), "model": options.model, "axes": figures}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        draw(figures, options.picture)


def measure(axis: str, model: str, repeats: int) -> list[Point]:
    """Return one point per value of an axis. Each point is measured in its own process."""
    values = ROWS[axis].values or tuple(2.0**i for i in range(int(math.log2(os.cpu_count() or 1)) + 2))
    points = []
    for value in values:
        command = [sys.executable, "-m", "benchmarks.cost", "--model", model, "--repeats", str(repeats), "--point", axis, str(value)]
        points.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return points


def crowd(model: str, faces: float, repeats: int) -> Point:
    """Return the cost of a photo of 5 MP with ``faces`` faces."""
    count = int(faces)
    with Image.open(demo_photo()) as portrait:
        tile = portrait.crop((150, 45, 290, 185)).resize((TILE, TILE), Image.Resampling.LANCZOS)
    photo = Image.new("RGB", CROWD_WH, (120, 110, 100))
    columns = CROWD_WH[0] // TILE
    for i in range(count):
        photo.paste(tile, (i % columns * TILE, i // columns * TILE))
    data, pipeline = jpeg(photo), Pipeline(model=model, threads=1)
    found = len(pipeline.analyze(data).faces)
    return {"value": faces, "found": found, "ms": median_ms(lambda: pipeline.analyze(data), repeats, 1), **memory()}


def photo_size(model: str, megapixels: float, repeats: int) -> Point:
    """Return the cost of a photo of ``megapixels`` with one face that fills a third of the height."""
    width, height = (round(side * math.sqrt(megapixels * 1e6 / 12)) for side in (4, 3))
    with Image.open(demo_photo()) as portrait:
        photo = portrait.resize((width, height), Image.Resampling.BICUBIC, box=(0, 64, 512, 448))
    data, pipeline = jpeg(photo), Pipeline(model=model, threads=1)
    del photo
    found = len(pipeline.analyze(data).faces)
    return {"value": megapixels, "found": found, "ms": median_ms(lambda: pipeline.analyze(data), repeats, 1), **memory()}


def batch_size(model: str, chips: float, repeats: int) -> Point:
    """Return the cost of classifying ``chips`` chips in one call."""
    classifier = Classifier(open_bundle(model), threads=1)
    given = some_chips(classifier, int(chips))
    return {"value": chips, "ms": median_ms(lambda: classifier.probabilities(given), repeats, 1), **memory()}


def thread_count(model: str, threads: float, repeats: int) -> Point:
    """Return the cost per photo for a stream of 640x480 photos, with ``threads`` threads in total."""
    with Image.open(demo_photo()) as portrait:
        data = jpeg(portrait.resize((640, 480)))
    pipeline, photos = Pipeline(model=model, threads=int(threads)), 16
    found = len(pipeline.analyze(data).faces)
    ms = median_ms(lambda: list(pipeline.analyze_many([data] * photos)), repeats, 1) / photos
    return {"value": threads, "found": found, "ms": ms, **memory()}


POINTS: dict[str, Callable[[str, float, int], Point]] = {
    "faces": crowd,
    "megapixels": photo_size,
    "batch": batch_size,
    "threads": thread_count,
}


def some_chips(classifier: Classifier, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return copies of the demo photo's chip with different brightness, uint8 (count, S, S[, 3])."""
    with Image.open(demo_photo()) as portrait:
        frame = np.asarray(portrait.convert("RGB"))
    (face,) = Pipeline(classifier=classifier, threads=1).analyze(frame).faces
    one = chip(frame, face.landmarks, classifier.spec).astype(np.float32)
    levels = np.linspace(0.6, 1, count, dtype=np.float32).reshape(-1, *[1] * one.ndim)
    return (one * levels).astype(np.uint8)


def jpeg(picture: Image.Image) -> bytes:
    """Return a picture as a JPEG file of quality 90."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def memory() -> Point:
    """Return the peak memory of this process, MB."""
    return {"peak_mb": memory_mb()}


def growth(points: list[Point]) -> Iterator[float | None]:
    """Yield, per point, the exponent p in time ~ work ** p since the previous point; None for the first point."""
    yield None
    for before, after in itertools.pairwise(points):
        yield math.log(after["ms"] / before["ms"]) / math.log(after["value"] / before["value"])


def table(axis: str, points: list[Point]) -> str:
    """Return the Markdown table of one axis, with its title and its explanation."""
    row = ROWS[axis]
    head = [row.unit, *(["faces found"] if "found" in points[0] else []), "ms", f"ms a {row.unit.removesuffix('s')}", "peak MB", "growth"]
    lines = []
    for point, exponent in zip(points, growth(points), strict=True):
        found = [f"{point['found']:.0f}"] if "found" in point else []
        each, grown = point["ms"] / point["value"], "" if exponent is None else f"{exponent:.2f}"
        lines.append([f"{point['value']:g}", *found, f"{point['ms']:.1f}", f"{each:.2f}", f"{point['peak_mb']:.0f}", grown])
    if axis == "threads":
        head, lines = [*head[:3], *head[4:5]], [[*line[:3], *line[4:5]] for line in lines]
    return f"**{row.title}** ({row.note})\n\n{markdown(head, lines)}"


def draw(figures: dict[str, list[Point]], file: Path) -> None:
    """Write the picture: time and memory, one panel per axis."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(11, 7.2), layout="constrained")
    for axes, (axis, points) in zip(figure.subplots(2, 2).flat, figures.items(), strict=True):
        values = [point["value"] for point in points]
        (time,) = axes.plot(values, [point["ms"] for point in points], "o-", color="#0b7285")
        axes.set(
            xscale="log",
            yscale="log",
            title=ROWS[axis].title,
            xlabel=ROWS[axis].unit,
            ylabel="ms a photo" if axis != "batch" else "ms a call",
        )
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        right = axes.twinx()
        (peak,) = right.plot(values, [point["peak_mb"] for point in points], "s--", color="#e8590c", markersize=4)
        right.set(ylabel="peak memory, MB", ylim=(0, None))
        axes.legend([time, peak], ["time", "peak memory"], loc="center left", frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
