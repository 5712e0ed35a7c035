from __future__ import annotations

from pathlib import Path

from benchmarks.training import measure
from tests.train.shapes import tiny_recipe, write_shapes


def test_the_figures_are_those_of_a_run(tmp_path: Path) -> None:
    figures = measure(write_shapes(tmp_path / "data", train=12), tiny_recipe(batch_size=7), steps=4, cache=tmp_path / "cache")
    assert 0 <= figures.waiting_share < 1
    assert min(figures.batch_ms, figures.step_ms, figures.peak_mb) > 0
    assert len(figures.rows()) == 5
