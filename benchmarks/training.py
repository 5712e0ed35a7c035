"""Time and memory of training: ``python -m benchmarks.training --data DIR``.

In one run on one machine, it measures the second start with a data set, the making of a batch without load, a training step, the share
of a step in which the loop waits for its batch, and peak memory. Two options measure something else, each variant in its own process.
``--compare`` compares the installed backends and precisions. ``--compare-memory`` compares keeping freed memory, as ``mien train`` does,
with returning it.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import keras

from benchmarks.timing import machine, markdown, memory_mb
from mien.train.data.dataset import Dataset, load
from mien.train.loop.batches import TrainingBatches
from mien.train.loop.fit import trainable
from mien.train.loop.memory import keep_freed_memory
from mien.train.loop.optimize import compile_for
from mien.train.recipe import Recipe

WARM_UP = 3
BACKENDS = ("tensorflow", "torch", "jax")
PRECISIONS = ("float32", "mixed_bfloat16")


@dataclass(frozen=True)
class Figures:
    """The measured figures: seconds, milliseconds, a share in 0..1, and MB (10^6 bytes)."""

    second_start_s: float
    batch_ms: float
    step_ms: float
    waiting_share: float
    peak_mb: float

    def rows(self) -> list[tuple[str, str]]:
        """Return the rows of the printed table."""
        return [
            ("second start, data set from its cache", f"{self.second_start_s:.2f} s"),
            ("one batch, made alone", f"{self.batch_ms:.1f} ms"),
            ("one training step", f"{self.step_ms:.1f} ms"),
            ("of it, waiting for the batch", f"{100 * self.waiting_share:.2f} %"),
            ("peak memory of the process", f"{self.peak_mb:.0f} MB"),
        ]


def measure(folder: Path, recipe: Recipe, steps: int, cache: Path | None = None) -> Figures:
    """Return the figures of ``steps`` training steps, after a few warm-up steps."""
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
    model = trainable(recipe, len(data.label_names))
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


def compare(arguments: list[str]) -> Iterator[tuple[str, str, float]]:
    """Yield backend, precision and milliseconds per step of this benchmark with ``arguments``, for each installed backend."""
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is None:
            continue
        for precision in PRECISIONS:
            yield backend, precision, _elsewhere([*arguments, "--precision", precision], backend)["step_ms"]


def compare_memory(arguments: list[str], turns: int = 3) -> tuple[list[float], list[float]]:
    """Return milliseconds per step of this benchmark with ``arguments``: one list for returned, one for kept memory, one value per turn."""
    pairs = [
        [_elsewhere([*arguments, *flag], keras.backend.backend())["step_ms"] for flag in (["--return-memory"], [])] for _ in range(turns)
    ]
    return [returned for returned, _ in pairs], [kept for _, kept in pairs]


def _elsewhere(arguments: list[str], backend: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training", *arguments, "--json"]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    figures: dict[str, float] = json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="FER2013")
    parser.add_argument("--recipe", default="compact")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--precision", choices=PRECISIONS, help="instead of the recipe's")
    parser.add_argument("--return-memory", action="store_true", help="let the process return freed memory after every step")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print the figures as JSON")
    how.add_argument("--compare", action="store_true", help="time a step under every installed backend, in float32 and bfloat16")
    how.add_argument("--compare-memory", action="store_true", help="time a step with freed memory returned and with it kept, in turns")
    options = parser.parse_args()
    changes = {"precision": options.precision} if options.precision else {}
    recipe = Recipe.load(options.recipe, **{"loss.votes_weight": 0, "model.weights": "none", **changes})
    note = f"batch size {recipe.batch_size}; "
    same = ["--data", str(options.data), "--recipe", options.recipe, "--steps", str(options.steps)]
    if options.compare_memory:
        precision = ["--precision", options.precision] if options.precision else []
        returned, kept = (statistics.median(ms) for ms in compare_memory([*same, *precision]))
        rows = [("returned", f"{returned:.0f} ms", "1.00"), ("kept", f"{kept:.0f} ms", f"{returned / kept:.2f}")]
        sys.stdout.write(markdown(["freed memory", f"one step of {options.recipe}", "times as fast"], rows) + "\n\n")
        sys.stdout.write(f"{note}Keras on {keras.backend.backend()}, median of three runs each; {machine(('numpy', 'keras'))}\n")
        return
    if options.compare:
        steps = list(compare(same))
        packages = packages_distributions()
        slowest = max(ms for *_, ms in steps)
        rows = [(backend, precision, f"{ms:.0f} ms", f"{slowest / ms:.1f}") for backend, precision, ms in steps]
        sys.stdout.write(markdown(["backend", "precision", f"one step of {options.recipe}", "times as fast as the slowest"], rows) + "\n\n")
        sys.stdout.write(note + machine(("numpy", "keras", *dict.fromkeys(packages[backend][0] for backend, *_ in steps))) + "\n")
        return
    if not options.return_memory:
        keep_freed_memory()
    figures = measure(options.data, recipe, options.steps)
    if options.json:
        sys.stdout.write(json.dumps(asdict(figures)) + "\n")
        return
    sys.stdout.write(markdown(["what", options.recipe], figures.rows()) + "\n\n")
    sys.stdout.write(f"{note}Keras on {keras.backend.backend()}; {machine(('numpy', 'keras'))}\n")


if __name__ == "__main__":
    main()
