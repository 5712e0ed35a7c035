from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mien.contract import LABELS
from mien.train.data import dataset as datasets
from mien.train.data import splits
from mien.train.evaluation import evaluate
from mien.train.evaluation.robustness import CHANGES
from mien.train.report.charts import Series, line_chart
from mien.train.report.evaluation import evaluation_html
from tests.train import made_up


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[evaluate.Evaluation, datasets.Dataset]:
    return made_up.story(tmp_path_factory.mktemp("story"))


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
