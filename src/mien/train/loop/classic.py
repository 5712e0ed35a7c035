"""Writes the files of the original trainer for notebooks and scripts that need them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import keras

from mien.atomic import atomic_write
from mien.train.loop.run_folder import HISTORY_CSV, write_json


def write_classic(run: Path, model: keras.Model, history: list[dict[str, Any]]) -> None:
    """Write ``emotion_recognition.keras`` (probabilities instead of logits) and ``training_history.json``, ``.csv`` and ``.pkl``.

    The JSON and pickle files hold one list per column, as ``keras.callbacks.History.history`` does.
    """
    probabilities = keras.layers.Softmax(name="probabilities")(model.output)
    with atomic_write(run / "emotion_recognition.keras", ending=".part.keras") as draft:
        keras.Model(model.input, probabilities, name="emotion_recognition").save(draft)
    columns = {name: [row[name] for row in history] for name in history[0]}
    write_json(run / "training_history.json", columns)
    with atomic_write(run / "training_history.pkl") as draft:
        draft.write_bytes(pickle.dumps(columns))
    with atomic_write(run / "training_history.csv") as draft:
        draft.write_bytes((run / HISTORY_CSV).read_bytes())
