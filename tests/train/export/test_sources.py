from __future__ import annotations

from pathlib import Path

import pytest

from mien.errors import UsageError
from mien.train.export.sources import load_for_run, open_source


def test_a_shipped_model_exports_the_same_way_from_a_checkout_and_from_a_wheel() -> None:
    """The Keras source is what the user names; no folder beside the package is looked into."""
    with open_source("nano") as source:
        assert source.network is None
        assert source.sample.truth is None


def test_a_run_without_its_data_set_says_why_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add --data DIR"):
        load_for_run(tmp_path, None)
