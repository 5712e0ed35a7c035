from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import pytest

from mien.cli import main
from mien.errors import TrainingError, UsageError
from mien.train.data.dataset import Dataset
from mien.train.loop.fit import fit
from mien.train.loop.run_folder import MODEL, is_run
from mien.train.loop.trained import inference_model
from mien.train.loop.weight_average import average_weights
from tests.train.shapes import tiny_recipe


def test_mien_ensemble_writes_a_run_with_the_mean_of_the_weights(
    tmp_path: Path, shapes: Dataset, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = [tmp_path / name for name in "ab"]
    for seed, run in enumerate(runs):
        fit(tiny_recipe(epochs=1, seed=seed), shapes, run)
    given = ["mien", "ensemble", *map(str, runs), "--average-weights", "--out", str(tmp_path / "c")]
    for more, said in ((["--data", "somewhere"], "takes run folders and --out alone"), (["--mirror"], "takes run folders and --out alone")):
        assert _status(monkeypatch, [*given, *more]) == 2
        assert said in capfd.readouterr().err
    assert _status(monkeypatch, given) == 0
    assert "the mean of the weights of 2 runs" in capfd.readouterr().err
    assert is_run(tmp_path / "c")
    a, b, c = (inference_model(tmp_path / name).get_weights() for name in "abc")
    for one, other, mean in zip(a, b, c, strict=True):
        assert mean == pytest.approx((one + other) / 2, abs=1e-6)
    assert keras.saving.load_model(tmp_path / "c" / MODEL).output_shape == (None, 7)


def test_an_ensemble_without_data_says_what_the_data_is_for(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert _status(monkeypatch, ["mien", "ensemble", "a", "b", "--out", "c"]) == 2
    assert "--data DIR is missing" in capfd.readouterr().err


def _status(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> Any:
    monkeypatch.setattr(sys, "argv", given)
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0


def test_a_mean_of_weights_cannot_be_resumed_and_says_what_to_do(tmp_path: Path, shapes: Dataset) -> None:
    for name in ("a", "b"):
        fit(tiny_recipe(epochs=1), shapes, tmp_path / name)
    average_weights([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    with pytest.raises(TrainingError, match=r"mean of other runs .* --set model\.weights="):
        fit(tiny_recipe(epochs=1), shapes, tmp_path / "c", resume=True)


def test_a_mean_of_different_networks_is_refused(tmp_path: Path, shapes: Dataset) -> None:
    fit(tiny_recipe(epochs=1), shapes, tmp_path / "a")
    fit(tiny_recipe(**{"epochs": 1, "model.options.widths": [4, 4]}), shapes, tmp_path / "b")
    with pytest.raises(UsageError, match="needs runs of one network"):
        average_weights([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    with pytest.raises(UsageError, match="two runs or more"):
        average_weights([tmp_path / "a"], tmp_path / "c")
    fit(tiny_recipe(epochs=1), shapes.exclude({shapes.names[0]}), tmp_path / "d")
    with pytest.raises(UsageError, match="differ in their"):
        average_weights([tmp_path / "a", tmp_path / "d"], tmp_path / "c")
    fit(tiny_recipe(epochs=1), shapes, tmp_path / "e", validation="holdout")
    fit(tiny_recipe(epochs=1, seed=1), shapes, tmp_path / "f", validation="holdout")
    with pytest.raises(UsageError, match="held back other images"):
        average_weights([tmp_path / "e", tmp_path / "f"], tmp_path / "c")
    assert not (tmp_path / "c").exists()
