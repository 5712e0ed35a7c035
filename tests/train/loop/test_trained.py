from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mien.errors import TrainingError
from mien.train.loop.run_folder import CONFIG, is_run
from mien.train.loop.trained import inference_model, read_config
from tests.train.shapes import tiny_recipe

HEAVY = "keras onnx tensorflow jax torch matplotlib"


def test_reading_a_runs_recipe_loads_no_network_library(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(json.dumps({"recipe": tiny_recipe().to_dict(), "labels": ["a", "b"]}))
    code = f"""
import sys
from pathlib import Path
from mien.train.loop.trained import read_config
print(read_config(Path(sys.argv[1]))[1])
print(sorted(set("{HEAVY}".split()) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["('a', 'b')", "[]"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is not a run folder"), ("{", "damaged"), ('{"labels": []}', "damaged")],
    ids=["no file", "cut off", "no recipe"],
)
def test_a_folder_that_is_no_run_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / CONFIG).write_text(content)
    with pytest.raises(TrainingError, match=said):
        read_config(tmp_path)


def test_a_run_without_an_epoch_has_no_network(tmp_path: Path) -> None:
    assert not is_run(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps({"recipe": tiny_recipe().to_dict(), "labels": ["a", "b"]}))
    assert is_run(tmp_path)
    with pytest.raises(TrainingError, match=r"checkpoint\.npz is missing"):
        inference_model(tmp_path)
