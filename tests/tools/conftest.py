"""The data set and the warning filters of the training wing's tests."""

from tests.train.conftest import pytest_collection_modifyitems, shapes, shapes_dir

__all__ = ["pytest_collection_modifyitems", "shapes", "shapes_dir"]
