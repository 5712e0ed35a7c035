from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mien.errors import TrainingError
from mien.train.loop.classic import write_classic
from mien.train.loop.curves import TensorBoardLog, draw_curves
from mien.train.loop.run_folder import environment, read_history, read_run, write_history, write_json


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"epoch": n, "loss": 2 / n, "accuracy": n / 10, "val_loss": 2.1 / n, "val_accuracy": [0.2, 0.4, 0.3][n % 3], "learning_rate": 0.1}
        for n in range(1, count + 1)
    ]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_json(tmp_path / "config.json", {"recipe": {"name": "tiny"}, "labels": ["a", "b"]})
    write_json(tmp_path / "environment.json", environment("tensorflow"))
    write_history(tmp_path, rows(5))
    return tmp_path


def test_history_is_the_same_in_json_and_csv(run: Path) -> None:
    assert read_history(run) == rows(5)
    with (run / "history.csv").open(newline="") as lines:
        read = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]
    assert read == rows(5)


def test_the_best_row_is_the_first_of_the_best(run: Path) -> None:
    best = read_run(run).best_row
    assert best is not None
    assert best["epoch"] == 1


def test_a_run_folder_is_read_without_keras(run: Path) -> None:
    code = (
        "import sys; from mien.train.loop.run_folder import read_run; run = read_run(sys.argv[1]); "
        "print(len(run.history), 'keras' in sys.modules, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5", "False", "False"]


@pytest.mark.parametrize("lost", ["config.json", "environment.json", "history.json"])
def test_a_folder_without_a_run(lost: str, run: Path) -> None:
    (run / lost).unlink()
    with pytest.raises(TrainingError, match="not the folder of a training run"):
        read_run(run)


def test_the_environment_says_what_trained() -> None:
    values = environment("jax")
    assert values["backend"] == "jax"
    assert {"mien", "numpy"} <= set(values["packages"])


@pytest.mark.parametrize("count", [1, 40])
def test_curves_are_a_picture(count: int, tmp_path: Path) -> None:
    draw_curves(tmp_path, rows(count))
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > picture.height > 200
        assert len(picture.convert("RGB").getcolors(maxcolors=100_000) or []) > 10
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_event_files_hold_every_epoch_once_after_a_restart(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, [])
    for row in rows(3):
        log.add(row)
    log.close()
    log = TensorBoardLog(tmp_path, rows(2))  # the third epoch was lost with the machine
    log.add(rows(3)[2])
    log.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert steps(file, "val_accuracy") == [1, 2, 3]


def steps(file: Path, tag: str) -> list[int]:
    """Return the steps that an event file holds for ``tag``; records are length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, found, at = file.read_bytes(), [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + length])
        found += [event.step for value in event.summary.value if value.tag == tag]
        at += 16 + length
    return found


def test_the_originals_files(run: Path) -> None:
    import pickle

    import keras
    import numpy as np

    chips = keras.Input((4, 4, 1))
    model = keras.Model(chips, keras.layers.Dense(3)(keras.layers.Flatten()(chips)))
    write_classic(run, model, rows(5))
    columns = json.loads((run / "training_history.json").read_text())
    assert columns["val_loss"] == [row["val_loss"] for row in rows(5)]
    assert pickle.loads((run / "training_history.pkl").read_bytes()) == columns
    assert (run / "training_history.csv").read_text().startswith("epoch,loss,accuracy")
    answers = keras.models.load_model(run / "emotion_recognition.keras")(np.ones((2, 4, 4, 1), np.float32))
    assert keras.ops.convert_to_numpy(answers).sum(1) == pytest.approx([1, 1], abs=1e-6)
