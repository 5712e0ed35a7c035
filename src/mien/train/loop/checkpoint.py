"""Stores the whole state of a run in one file. The file holds the state before an epoch or after it, never a mixture."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.atomic import atomic_write
from mien.errors import TrainingError

Arrays = list[NDArray[Any]]


@dataclass
class RunState:
    """Where a run stands after ``len(history)`` epochs.

    ``weights`` are the raw weights, ``average`` is their moving average, and ``best`` is the average at the best epoch so far. With
    ``optimizer`` and ``seeds``, the next step is the same as without a stop.
    """

    weights: Arrays
    optimizer: Arrays
    seeds: Arrays
    average: Arrays
    best: Arrays
    steps: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best_row(self) -> dict[str, Any] | None:
        """The history row of the best validation accuracy (the first, on a tie), or None before the first epoch."""
        return max(self.history, key=lambda row: float(row["val_accuracy"]), default=None)


_LISTS = ("weights", "optimizer", "seeds", "average", "best")


def save_state(file: Path, state: RunState) -> None:
    """Write ``state`` atomically: after a crash or on a full disk, the old file or the new file is there."""
    arrays = {f"{name}/{i:04d}": array for name in _LISTS for i, array in enumerate(getattr(state, name))}
    meta = json.dumps({"steps": state.steps, "history": state.history})
    with atomic_write(file, durable=True) as draft, draft.open("wb") as out:
        np.savez(out, meta=np.array(meta), **arrays)


def load_state(file: Path) -> RunState:
    """Return the state in ``file``.

    Raises:
        TrainingError: the file is missing or damaged.
    """
    try:
        with file.open("rb") as source, np.load(source, allow_pickle=False) as saved:
            meta = json.loads(str(saved["meta"]))
            lists = {name: [saved[key] for key in sorted(saved.files) if key.startswith(f"{name}/")] for name in _LISTS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"cannot resume: {file} is missing or damaged ({error}); start the run anew without --resume") from None
    return RunState(**lists, steps=meta["steps"], history=meta["history"])
