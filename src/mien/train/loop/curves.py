"""Draws the history of a run: ``curves.png`` and TensorBoard event files. It does not need Keras."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from tensorboardX import SummaryWriter

from mien.atomic import atomic_write
from mien.train.loop.run_folder import CURVES, TENSORBOARD


def draw_curves(run: Path, history: list[dict[str, Any]]) -> None:
    """Write ``curves.png``: training and validation loss and accuracy per epoch."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [row[name] for row in history], label="training", marker="." if len(epochs) < 3 else None)
        axes.plot(epochs, [row[f"val_{name}"] for row in history], label="validation", marker="." if len(epochs) < 3 else None)
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_write(run / CURVES) as draft:
        figure.savefig(draft, dpi=120, format="png")


class TensorBoardLog:
    """Event files in ``run/tensorboard``. Every start rewrites them from the history, so that no step is lost or repeated."""

    def __init__(self, run: Path, history: list[dict[str, Any]]) -> None:
        shutil.rmtree(run / TENSORBOARD, ignore_errors=True)
        self._writer = SummaryWriter(str(run / TENSORBOARD))
        for row in history:
            self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """Append one history row."""
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
