from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.contract import LABELS, InputSpec
from mien.train.data import dataset as datasets
from mien.train.data import splits
from mien.train.evaluation import evaluate
from mien.train.evaluation.robustness import CHANGES, changed, robustness
from tests.train import made_up


def test_every_change_gets_worse_from_left_to_right() -> None:
    chip = made_up.chip(3, 0)
    smooth = np.asarray(np.add.outer(np.linspace(0, 120, 48), np.linspace(0, 120, 48)) + 0.05 * chip, np.uint8)
    chips = np.stack([smooth] * 20)
    spec = InputSpec("x", "1")
    for name, change in CHANGES.items():
        harm = [np.abs(changed(chips, name, s, spec).astype(float) - chips).mean() for s in change.strengths]
        assert len(harm) == 5
        assert harm == sorted(harm), name
        assert harm[0] > 0, name


def test_changes_repeat_with_their_seed() -> None:
    chips = np.stack([made_up.chip(2, i) for i in range(5)])
    spec = InputSpec("x", "1")
    for name, change in CHANGES.items():
        assert (changed(chips, name, change.strengths[2], spec, 7) == changed(chips, name, change.strengths[2], spec, 7)).all()


def test_robustness_finds_the_one_thing_this_model_looks_at(tmp_path: Path) -> None:
    faces = datasets.load(made_up.fer2013(tmp_path / "data"), cache=tmp_path / "cache")
    made_up.brightness_bundle(tmp_path / "model")
    model = evaluate.open_model(tmp_path / "model")
    table = robustness(model, faces, splits.select(faces, "private", LABELS), faces=30)
    assert table["n"] == 30
    assert table["changes"]["brighter"]["accuracy"][-1]["value"] < 0.4 < table["changes"]["blur"]["accuracy"][-1]["value"]
