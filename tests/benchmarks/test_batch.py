"""The page on scaling: its figures are those of the results, and the model says what arithmetic says."""

import pytest

from benchmarks.scaling import DOCS, Load, rewritten


def test_the_page_has_the_figures_of_the_results():
    text = DOCS.read_text(encoding="utf-8")
    assert text == rewritten(text), "run: python -m benchmarks.batch docs"


def test_the_model_is_arithmetic():
    load = Load("photos", count=7200, core_s=0.5, read=1e6, written=100, a_part=256)
    assert load.hours(cores=2) == pytest.approx(0.5)
    assert load.rate(cores=2) == pytest.approx(4)
