"""Every experiment has a short page that tells the same things in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.workplace import ROOT
from tools.generated import front_matter

EXPERIMENTS = sorted((ROOT / "docs" / "experiments").glob("*.md"))
TOLD = ("Change", "Expected", "PublicTest", "Seeds", "Builds on", "Verdict", "Command")


@pytest.mark.parametrize("page", EXPERIMENTS, ids=lambda page: page.stem)
def test_an_experiment_says_what_all_say(page: Path) -> None:
    said = front_matter(page)
    assert list(said) == ["title", "public_test", "outcome"]
    assert max(map(len, said.values())) < 80, "the table has short cells; the rest belongs below"
    text = page.read_text(encoding="utf-8")
    assert f"\n# {said['title']}\n" in text
    parts = [name.removesuffix("s") if name.startswith("Command") else name for name in re.findall(r"^- \*\*([^*]+):\*\*", text, re.M)]
    assert parts == [name for name in TOLD if name in parts]
    assert {"Change", "Expected", "PublicTest", "Verdict", "Command"} <= set(parts)
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), link


def test_experiments_are_numbered_without_a_gap() -> None:
    assert [int(page.name.split("-")[0]) for page in EXPERIMENTS] == list(range(1, len(EXPERIMENTS) + 1))
