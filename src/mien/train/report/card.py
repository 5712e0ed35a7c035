"""Writes the model card of a bundle. Its metrics.json is the only source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from mien.errors import UsageError
from mien.train.evaluation.evaluate import SCHEMA
from mien.train.report.evaluation import TEMPLATES

WEAKEST = 2  # labels that the card warns about


def card(metrics: Mapping[str, Any]) -> str:
    """Return the card as Markdown.

    Args:
        metrics: the content of metrics.json.

    Raises:
        UsageError: ``metrics`` has another schema or no split.
    """
    if metrics.get("schema") != SCHEMA or not metrics.get("splits"):
        raise UsageError(f"expected metrics of schema {SCHEMA!r} with at least one split, got {metrics.get('schema')!r}; run mien evaluate")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701 - Markdown, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(percent=_percent, share=_share, number=_number)
    main = next(iter(metrics["splits"].values()))
    faces = [(row["f1"], name) for name, row in main["per_class"].items() if row["support"]]
    return environment.get_template("card.md.j2").render(**metrics, main=main, weakest=[name for _, name in sorted(faces)[:WEAKEST]])


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _share(share: Mapping[str, float]) -> str:
    return f"{100 * share['value']:.1f} % ({100 * share['low']:.1f} to {100 * share['high']:.1f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
