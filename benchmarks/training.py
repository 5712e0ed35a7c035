"""What training costs besides training: ``python -m benchmarks.training --data DIR``.

Measured on one machine in one run: the second start of a data set, a batch made with nothing else going on, a training step, the share of
a step that the loop waits for its batch, and peak memory.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import keras

from benchmarks.timing import machine, markdown, memory_mb
from mien.train.batches import TrainingBatches
from mien.train.data import Dataset, load
from mien.train.models import build_model
from mien.train.optimize import compile_for
from mien.train.recipe import Recipe

WARM_UP = 3


@dataclass(frozen=True)
class Figures:
    """Seconds, milliseconds, a share of 0..1 and MB (10^6 bytes)."""

    second_start_s: float
    batch_ms: float
    step_ms: float
    waiting_share: float
    peak_mb: float

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed table's rows."""
        return [
            ("second start, data set from its cache", f"{self.second_start_s:.2f} s"),
            ("one batch, made alone", f"{self.batch_ms:.1f} ms"),
            ("one training step", f"{self.step_ms:.1f} ms"),
            ("of it, waiting for the batch", f"{100 * self.waiting_share:.2f} %"),
            ("peak memory of the process", f"{self.peak_mb:.0f} MB"),
        ]


def measure(folder: Path, recipe: Recipe, steps: int, cache: Path | None = None) -> Figures:
    """Return the figures of ``steps`` training steps, after a few that warm up."""
    load(folder, size=recipe.size, channels=recipe.channels, cache=cache)
    began = time.perf_counter()
    data = load(folder, size=recipe.size, channels=recipe.channels, cache=cache)
    second_start_s = time.perf_counter() - began
    batches = TrainingBatches(data, data.rows("train"), recipe)
    steps = min(steps, batches.steps - WARM_UP)
    began = time.perf_counter()
    made = sum(1 for _ in itertools.islice(batches.epoch(0), steps))
    batch_ms = 1000 * (time.perf_counter() - began) / made
    step_ms, waiting_share = _train(data, batches, recipe, steps)
    peak_mb = memory_mb()
    return Figures(second_start_s, batch_ms, step_ms, waiting_share, peak_mb)


def _train(data: Dataset, batches: TrainingBatches, recipe: Recipe, steps: int) -> tuple[float, float]:
    model = build_model(recipe, len(data.label_names))
    compile_for(model, recipe, recipe.epochs - 1, batches.steps)
    source = batches.epoch(0)
    waited, began = 0.0, 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            waited, began = 0.0, time.perf_counter()
        mark = time.perf_counter()
        batch = next(source)
        waited += time.perf_counter() - mark
        model.train_on_batch(batch.chips, batch.targets, sample_weight=batch.weights)
    took = time.perf_counter() - began
    return 1000 * took / steps, waited / took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="FER2013")
    parser.add_argument("--recipe", default="compact")
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    recipe = Recipe.load(options.recipe, **{"loss.votes_weight": 0, "model.weights": "none"})
    figures = measure(options.data, recipe, options.steps)
    sys.stdout.write(markdown(["what", options.recipe], figures.rows()) + "\n\n")
    sys.stdout.write(f"batch size {recipe.batch_size}; Keras on {keras.backend.backend()}; {machine(('numpy', 'keras'))}\n")


if __name__ == "__main__":
    main()
