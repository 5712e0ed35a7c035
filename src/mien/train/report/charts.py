"""Draws small SVG charts. They take their colours from the page, so they follow its light or dark scheme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44  # margins in px


@dataclass(frozen=True)
class Series:
    """A line through points (x, y). ``style`` is a CSS class of the page. ``name`` is the text in the legend; "" leaves it out."""

    name: str
    x: ArrayLike
    y: ArrayLike
    style: str = "line-a"
    dots: bool = False


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] = (0, 1),
    y_range: tuple[float, float] = (0, 1),
    x_ticks: int = 5,
    mark: tuple[float, float, str] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Markup:
    """Return an ``<svg>`` element.

    Args:
        series: the lines, in drawing order; points that are not finite are left out.
        x_label: text under the horizontal axis.
        y_label: text beside the vertical axis.
        x_range: values at the left and the right edge.
        y_range: values at the lower and the upper edge.
        x_ticks: number of values under the horizontal axis.
        mark: (x, y, text) of one point to highlight.
        size: (width, height) in px.
    """
    width, height = size

    def place(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        across = (np.asarray(x, float) - x_range[0]) / (x_range[1] - x_range[0])
        up = (np.asarray(y, float) - y_range[0]) / (y_range[1] - y_range[0])
        return np.stack([LEFT + across * (width - LEFT - RIGHT), height - BOTTOM - up * (height - TOP - BOTTOM)], -1)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(y_label)} against {escape(x_label)}">']
    for value in np.linspace(*y_range, 5):
        x, y = place(x_range[0], value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{_tick(value)}</text>')
    for value in np.linspace(*x_range, x_ticks):
        x, y = place(value, y_range[0])
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{_tick(value)}</text>')
    middle_x, middle_y = (LEFT + width - RIGHT) / 2, (TOP + height - BOTTOM) / 2
    parts.append(f'<text class="axis" x="{middle_x:.0f}" y="{height - 8}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text class="axis" transform="translate(14 {middle_y:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    for line in series:
        points = place(line.x, line.y)
        points = points[np.isfinite(points).all(1)]
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="{line.style}" points="{text}"/>')
        if line.dots:
            parts += [f'<circle class="{line.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
    if mark:
        (x, y), text = place(mark[0], mark[1]), escape(mark[2])
        anchor = "end" if x > width / 2 else "start"
        parts.append(f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(
            f'<text class="tick" x="{x + (-9 if anchor == "end" else 9):.1f}" y="{y + 16:.1f}" text-anchor="{anchor}">{text}</text>'
        )
    named = [line for line in series if line.name]
    for i, line in enumerate(named):
        y = height - BOTTOM - 12 - 18 * (len(named) - 1 - i)
        parts.append(f'<line class="{line.style}" x1="{width - 150}" x2="{width - 126}" y1="{y - 4}" y2="{y - 4}"/>')
        parts.append(f'<text class="tick" x="{width - 120}" y="{y}">{escape(line.name)}</text>')
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - every text above is escaped


def _tick(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") or "0"
