from __future__ import annotations

from typing import Any

import pytest

from mien.errors import UsageError
from mien.train.report.card import card
from tests.train import made_up


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return made_up.story(tmp_path_factory.mktemp("story"))[0].metrics


def test_the_card_holds_the_figures_of_metrics_json(metrics: dict[str, Any]) -> None:
    text = card(metrics)
    for split in metrics["splits"].values():
        a = split["accuracy"]
        assert f"| {split['n']} | {100 * a['value']:.1f} % ({100 * a['low']:.1f} to {100 * a['high']:.1f}) |" in text
    assert "7 of the 84 PrivateTest images are copies" in text
    for heading in ("Intended use", "Forbidden use", "Limits", "When pictures get worse", "By <tone>"):
        assert heading in text
    assert "{{" not in text
    assert "None" not in text


def test_a_card_of_one_split_leaves_the_others_out(metrics: dict[str, Any]) -> None:
    small = {key: value for key, value in metrics.items() if key != "robustness"} | {"splits": {"public": metrics["splits"]["public"]}}
    text = card(small)
    assert "PrivateTest images are copies" not in text
    assert "When pictures get worse" not in text


def test_a_card_needs_metrics() -> None:
    with pytest.raises(UsageError, match="run mien evaluate"):
        card({"schema": "other/1"})
