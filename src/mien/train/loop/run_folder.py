"""Reads and writes the readable files of a run folder: configuration, environment, history. It does not need Keras.

::

    run/
      config.json         recipe, labels, validation split, excluded images and fingerprints of the data
      environment.json    versions, machine, git revision, images per label
      history.csv, .json  one row per epoch
      curves.png          loss and accuracy
      tensorboard/        the same numbers as event files
      checkpoint.npz      all state that the next epoch needs
      model.keras         the network of the best epoch: chips in 0..255 -> logits
"""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mien.atomic import atomic_write
from mien.errors import TrainingError

CONFIG, ENVIRONMENT, HISTORY, HISTORY_CSV = "config.json", "environment.json", "history.json", "history.csv"
CHECKPOINT, MODEL = "checkpoint.npz", "model.keras"
CURVES, TENSORBOARD = "curves.png", "tensorboard"
_PACKAGES = ("keras", "tensorflow-cpu", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Run:
    """A run folder as read from disk."""

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def best_row(self) -> dict[str, Any] | None:
        """The history row of the best validation accuracy, or None before the first epoch."""
        return max(self.history, key=lambda row: float(row["val_accuracy"]), default=None)


def is_run(folder: str | Path) -> bool:
    """Return whether ``mien train`` wrote ``folder``."""
    return (Path(folder) / CONFIG).is_file()


def read_run(folder: str | Path) -> Run:
    """Return the readable files of a run folder.

    Raises:
        TrainingError: the folder holds no run.
    """
    folder = Path(folder)
    try:
        config, environment = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (CONFIG, ENVIRONMENT))
        return Run(folder, config, environment, read_history(folder))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} is not the folder of a training run ({error}); 'mien train --run {folder}' makes one") from None


def write_json(file: Path, values: Any) -> None:
    """Write ``values`` as JSON, atomically."""
    with atomic_write(file) as draft:
        draft.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def write_history(run: Path, history: list[dict[str, Any]]) -> None:
    """Write ``history.csv`` and ``history.json``, each atomically."""
    write_json(run / HISTORY, history)
    with atomic_write(run / HISTORY_CSV) as draft, draft.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, fieldnames=list(history[0]) if history else ["epoch"])
        writer.writeheader()
        writer.writerows(history)


def read_history(run: Path) -> list[dict[str, Any]]:
    """Return the history rows of a run folder, oldest first."""
    rows: list[dict[str, Any]] = json.loads((run / HISTORY).read_text(encoding="utf-8"))
    return rows


def environment(backend: str) -> dict[str, Any]:
    """Return versions, machine and the revision of Mien's source tree (None outside a git checkout)."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "backend": backend,
        "packages": {name: version for name in ("mien", *_PACKAGES) if (version := _version(name))},
        "git_revision": _git_revision(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:
        return None
