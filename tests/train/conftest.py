from __future__ import annotations

from pathlib import Path

import pytest

from mien.train.data.dataset import Dataset, load
from tests.train.shapes import SIDE, write_shapes

# What Keras 3.15 says under NumPy 2 when it saves; its to mend.
THEIR_WARNINGS = ("ignore:__array__ implementation:DeprecationWarning:keras",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for warning in THEIR_WARNINGS:
            item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session")
def shapes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="session")
def shapes(shapes_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(shapes_dir, size=SIDE, cache=tmp_path_factory.mktemp("cache"))
