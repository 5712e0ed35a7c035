from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mien.contract import LABELS
from mien.errors import UsageError
from mien.train import data as datasets
from mien.train import evaluate, groups, splits
from mien.train.card import card
from mien.train.charts import Series, line_chart
from mien.train.report import evaluation_html
from mien.train.robustness import CHANGES, changed, robustness
from tests.train import made_up


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[evaluate.Evaluation, datasets.Dataset]:
    """An evaluation with everything in it: all splits, groups and robustness."""
    root = tmp_path_factory.mktemp("story")
    made_up.fer2013(root / "data")
    faces = datasets.load(root / "data", votes=made_up.votes(root / "data", root / "votes.csv"), cache=root / "cache")
    made_up.brightness_bundle(root / "model", temperature=1.5)
    model = evaluate.open_model(root / "model")
    chosen = [splits.select(faces, name, LABELS) for name in splits.ALL]
    tone = {"<tone>": np.where(faces.labels < 3, "dark & dim", "light")}
    result = evaluate.evaluate(model, faces, chosen, tone)
    result.metrics["robustness"] = robustness(model, faces, chosen[0], faces=30)
    return result, faces


class Outline(HTMLParser):
    """Checks that tags close in order, and keeps the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_is_one_well_formed_file_that_fetches_nothing(story: tuple[evaluate.Evaluation, datasets.Dataset]) -> None:
    page = evaluation_html(*story)
    assert Outline(page).open == []
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|<script", page)
    assert "prefers-color-scheme: dark" in page


def test_the_report_says_what_metrics_json_says(story: tuple[evaluate.Evaluation, datasets.Dataset]) -> None:
    result, faces = story
    text = " ".join(Outline(evaluation_html(result, faces)).words).replace("\xa0", " ")
    told = result.metrics["splits"]["private"]
    for value in (told["accuracy"]["value"], told["macro_f1"], told["kept"]["coverage"], told["uncalibrated"]["ece"]):
        assert f"{100 * value:.1f} %" in text
    assert "By <tone>" in text
    assert "dark & dim" in text
    assert "raters" in text
    for name in CHANGES:
        assert name in text


def test_a_model_without_mistakes_has_a_report(tmp_path: Path) -> None:
    faces = datasets.load(made_up.fer2013(tmp_path / "data", test=1), cache=tmp_path / "cache")
    exact = np.zeros((len(faces), 48, 48), np.uint8) + ((faces.labels[:, None, None] + 0.5) * 255 / 7).astype(np.uint8)
    from dataclasses import replace

    made_up.brightness_bundle(tmp_path / "model", sharpness=5000)
    faces = replace(faces, images=exact)
    result = evaluate.evaluate(evaluate.open_model(tmp_path / "model"), faces, [splits.select(faces, "private", LABELS)])
    assert result.metrics["splits"]["private"]["accuracy"]["value"] == 1
    assert Outline(evaluation_html(result, faces)).open == []


def test_charts_leave_out_what_is_not_a_number() -> None:
    svg = line_chart([Series("a < b", [0, 0.5, 1], [0.1, np.nan, 0.3], dots=True)], x_label="x", y_label="y")
    assert svg.count("<circle") == 2
    assert "nan" not in svg
    assert "a &lt; b" in svg


def test_every_change_gets_worse_from_left_to_right() -> None:
    chip = made_up.chip(3, 0)
    smooth = np.asarray(np.add.outer(np.linspace(0, 120, 48), np.linspace(0, 120, 48)) + 0.05 * chip, np.uint8)
    chips = np.stack([smooth] * 20)
    spec = made_up.InputSpec("x", "1")
    for name, change in CHANGES.items():
        harm = [np.abs(changed(chips, name, s, spec).astype(float) - chips).mean() for s in change.strengths]
        assert len(harm) == 5
        assert harm == sorted(harm), name
        assert harm[0] > 0, name


def test_changes_repeat_with_their_seed() -> None:
    chips = np.stack([made_up.chip(2, i) for i in range(5)])
    spec = made_up.InputSpec("x", "1")
    for name, change in CHANGES.items():
        assert (changed(chips, name, change.strengths[2], spec, 7) == changed(chips, name, change.strengths[2], spec, 7)).all()


def test_robustness_finds_the_one_thing_this_model_looks_at(story: tuple[evaluate.Evaluation, datasets.Dataset]) -> None:
    table = story[0].metrics["robustness"]
    assert table["n"] == 30
    assert table["changes"]["brighter"]["accuracy"][-1]["value"] < 0.4 < table["changes"]["blur"]["accuracy"][-1]["value"]


def test_the_card_holds_the_figures_of_metrics_json(story: tuple[evaluate.Evaluation, datasets.Dataset]) -> None:
    metrics = story[0].metrics
    text = card(metrics)
    for split in metrics["splits"].values():
        a = split["accuracy"]
        assert f"| {split['n']} | {100 * a['value']:.1f} % ({100 * a['low']:.1f} to {100 * a['high']:.1f}) |" in text
    assert "7 of the 84 PrivateTest images are copies" in text
    for heading in ("Intended use", "Forbidden use", "Limits", "When pictures get worse", "By <tone>"):
        assert heading in text
    assert "{{" not in text
    assert "None" not in text


def test_a_card_of_one_split_leaves_the_others_out(story: tuple[evaluate.Evaluation, datasets.Dataset]) -> None:
    metrics = story[0].metrics
    small = {key: value for key, value in metrics.items() if key != "robustness"} | {"splits": {"public": metrics["splits"]["public"]}}
    text = card(small)
    assert "PrivateTest images are copies" not in text
    assert "When pictures get worse" not in text


def test_a_card_needs_metrics() -> None:
    with pytest.raises(UsageError, match="run mien evaluate"):
        card({"schema": "other/1"})


def test_groups_of_one_have_no_gap() -> None:
    p, y = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])
    assert groups.by_group(p, y, np.array(["all", "all"]))["gap"] is None
