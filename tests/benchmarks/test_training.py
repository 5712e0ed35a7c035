from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.training import compare_memory, measure
from tests.train.loop.test_backends import QUICK_COMPILING
from tests.train.shapes import tiny_recipe, write_shapes


def test_the_figures_are_those_of_a_run(tmp_path: Path) -> None:
    figures = measure(write_shapes(tmp_path / "data", train=12), tiny_recipe(batch_size=7), steps=4, cache=tmp_path / "cache")
    assert 0 <= figures.waiting_share < 1
    assert min(figures.batch_ms, figures.step_ms, figures.peak_mb) > 0
    assert len(figures.rows()) == 5


@pytest.mark.slow
def test_backends_stand_side_by_side(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "data", train=20)
    recipe = _small(tmp_path)
    command = [sys.executable, "-m", "benchmarks.training", "--data", str(folder), "--recipe", str(recipe), "--steps", "2", "--compare"]
    env = {**os.environ, "XLA_FLAGS": QUICK_COMPILING}
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=env, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split(" | ") for line in done.stdout.splitlines() if "bfloat16" in line]
    assert rows[0][0] == "| tensorflow"
    assert float(rows[0][3].rstrip(" |")) >= 1


@pytest.mark.slow
def test_kept_memory_stands_beside_returned_memory(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "data", train=20)
    returned, kept = compare_memory(["--data", str(folder), "--recipe", str(_small(tmp_path)), "--steps", "2"], turns=1)
    assert len(returned) == len(kept) == 1
    assert min(*returned, *kept) > 0


def _small(folder: Path) -> Path:
    recipe = folder / "small.toml"
    recipe.write_text("size = 32\nbatch_size = 4\n[model]\noptions = { stem = 8, widths = [8, 16], depths = [1, 1] }\n")
    return recipe
