"""The readable half of a run folder: history as CSV and JSON. Needs no Keras."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any


def write_history(run: Path, history: list[dict[str, Any]]) -> None:
    """Write ``history.csv`` and ``history.json``, each replaced in one step."""
    part = run / ".history.part"
    part.write_text(json.dumps(history, indent=1) + "\n", encoding="utf-8")
    os.replace(part, run / "history.json")
    with part.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, fieldnames=list(history[0]) if history else ["epoch"])
        writer.writeheader()
        writer.writerows(history)
    os.replace(part, run / "history.csv")


def read_history(run: Path) -> list[dict[str, Any]]:
    """Return the history rows of a run folder, oldest first."""
    rows: list[dict[str, Any]] = json.loads((run / "history.json").read_text(encoding="utf-8"))
    return rows
