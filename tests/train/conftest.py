from __future__ import annotations

from pathlib import Path

import pytest

from mien.train.data import Dataset, load
from tests.train.shapes import SIDE, write_shapes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Keras 3.15 save a model under NumPy 2 without an error; the warning is its own to mend."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras"))


@pytest.fixture(scope="session")
def shapes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="session")
def shapes(shapes_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(shapes_dir, size=SIDE, cache=tmp_path_factory.mktemp("cache"))
