from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mien.contract import LABELS, InputSpec
from mien.train.data.dataset import Dataset, load
from mien.train.export.formats.judge import sample_of
from tests.train import made_up


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("judge")
    return load(made_up.fer2013(root / "data", test=2), cache=root)


@pytest.mark.parametrize(
    ("instead", "count", "name"),
    [
        pytest.param({}, 14, "PublicTest", id="FER2013"),
        pytest.param({"public": "private"}, 28, "PrivateTest", id="no PublicTest"),
        pytest.param({"public": "test", "private": "test"}, 28, "test", id="a test folder of one's own"),
        pytest.param({"public": "train", "private": "train"}, 56, "training images", id="nothing but training images"),
    ],
)
def test_an_export_is_judged_on_the_first_split_that_there_is(faces: Dataset, instead: dict[str, str], count: int, name: str) -> None:
    splits = np.array([instead.get(split, split) for split in faces.splits.tolist()])
    sample = sample_of(InputSpec("x", "1", LABELS), dataclasses.replace(faces, splits=splits))
    assert (sample.name, len(sample.chips)) == (name, count)
    assert sample.calibration is not None
