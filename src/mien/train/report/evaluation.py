"""Writes an evaluation as one HTML file that contains its pictures, charts and styles."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from mien.train.data.dataset import Dataset
from mien.train.data.splits import FERPLUS_NAMES, Split
from mien.train.evaluation.evaluate import Evaluation
from mien.train.report.charts import Series, line_chart

TEMPLATES = Path(__file__).parent / "templates"
GALLERY = 28  # number of mistakes to show, the most confident ones
SMALLEST_BIN = 10  # faces per bin; with fewer, the accuracy is noise and is not drawn


def evaluation_html(evaluation: Evaluation, data: Dataset) -> str:
    """Return the report on an evaluation as HTML. It shows the first split in full and the others in one table.

    Args:
        evaluation: the evaluation to report.
        data: the data set of the pictures in the gallery.
    """
    split = evaluation.splits[0]
    figures = evaluation.metrics["splits"][split.name]
    names = split.label_names
    counts = np.array(figures["confusion"])
    faces = np.array([figures["per_class"][name]["support"] for name in names])  # those without an answer included
    shares = counts / np.maximum(faces[:, None], 1)
    return page(
        "report.html.j2",
        title=f"{evaluation.spec.name} {evaluation.spec.version}: evaluation",
        metrics=evaluation.metrics,
        split=split,
        figures=figures,
        names=names,
        counts=counts.tolist(),
        shares=shares.tolist(),
        confused=_most_confused(counts, names),
        reliability=_reliability(figures),
        risk=_risk(figures),
        gallery=_gallery(evaluation, data, split),
        robustness=_robustness(evaluation.metrics.get("robustness")),
    )


def page(template: str, **values: Any) -> str:
    """Return a rendered template of this package. Values are escaped unless they are Markup."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value, digits=1: f"{100 * value:.{digits}f}\u00a0%"
    return environment.get_template(template).render(**values)


def picture(chip: NDArray[np.uint8], side: int = 96) -> str:
    """Return a chip, uint8 (S, S) or (S, S, 3), as a data URL of a PNG of ``side`` pixels."""
    data = io.BytesIO()
    Image.fromarray(chip).resize((side, side), Image.Resampling.BICUBIC).save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _most_confused(counts: NDArray[np.int64], names: Sequence[str]) -> list[dict[str, Any]]:
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    best = np.argsort(-wrong, axis=None, kind="stable")[:3]
    pairs = [divmod(int(i), len(counts)) for i in best]
    return [{"label": names[i], "predicted": names[j], "n": int(wrong[i, j]), "of": int(counts[i].sum())} for i, j in pairs if wrong[i, j]]


def _reliability(figures: dict[str, Any]) -> Markup:
    lines = [Series("", (0, 1), (0, 1), "ideal")]
    for name, bins, style in (
        ("as trained", figures["uncalibrated"]["reliability"], "line-b"),
        ("calibrated", figures["reliability"], "line-a"),
    ):
        told = np.array(bins["n"]) >= SMALLEST_BIN
        lines.append(Series(name, np.array(bins["confidence"])[told], np.array(bins["accuracy"])[told], style, dots=True))
    return line_chart(lines, x_label="confidence", y_label="accuracy")


def _risk(figures: dict[str, Any]) -> Markup:
    curve, kept = figures["risk_coverage"], figures["kept"]
    low = min(0.5, math.floor(10 * min(curve["accuracy"])) / 10)
    mark = (kept["coverage"], kept["accuracy"]["value"], f"uncertain below {kept['threshold']:.2f}") if kept["accuracy"] else None
    line = Series("", curve["coverage"], curve["accuracy"], "line-a")
    return line_chart([line], x_label="share of faces answered", y_label="accuracy on them", y_range=(low, 1), mark=mark)


def _gallery(evaluation: Evaluation, data: Dataset, split: Split) -> list[dict[str, Any]]:
    p = evaluation.probabilities_of(split)
    wrong = np.flatnonzero(p.argmax(1) != split.labels)
    worst = wrong[np.argsort(-p[wrong].max(1), kind="stable")][:GALLERY]
    return [
        {
            "picture": picture(np.asarray(data.images[split.rows[i]])),
            "label": split.label_names[split.labels[i]],
            "predicted": split.label_names[p[i].argmax()],
            "confidence": float(p[i].max()),
            "file": data.names[split.rows[i]],
            "raters": _raters(data, int(split.rows[i])),
        }
        for i in worst
    ]


def _raters(data: Dataset, row: int) -> str:
    """Return the answer of most FER+ raters for an image, such as "7 of 10 raters: fear", or "" without votes."""
    if data.votes is None or not data.votes[row].sum():
        return ""
    votes = data.votes[row]
    names = (*FERPLUS_NAMES, "unknown", "no face")
    return f"{votes.max():.0f} of {votes.sum():.0f} raters: {names[votes.argmax()]}"


def _robustness(table: dict[str, Any] | None) -> list[dict[str, Any]]:
    if not table:
        return []
    base = table["baseline"]["value"]
    charts = []
    for name, row in table["changes"].items():
        values = [cell["value"] for cell in row["accuracy"]]
        steps = range(len(values) + 1)
        lines = [Series("", (0, len(values)), (base, base), "ideal"), Series("", steps, [base, *values], "line-a", dots=True)]
        chart = line_chart(
            lines, x_label="strength", y_label="accuracy", x_range=(0, len(values)), x_ticks=len(values) + 1, size=(240, 180)
        )
        charts.append({"name": name, "unit": row["unit"], "strengths": row["strengths"], "values": values, "chart": chart})
    return charts
