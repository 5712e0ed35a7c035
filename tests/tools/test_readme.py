"""The README says what the package does: its figures are the shipped file's, its commands exist."""

import re

import pytest

from mien.cli import VERBS, app
from tools.readme import PAGES, ROOT, rewritten

README = ROOT / "README.md"


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_those_of_the_shipped_file(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text == rewritten(text), "run: python -m tools.readme"


def test_every_command_exists():
    known = set(VERBS) | {group.name for group in app.registered_groups}
    named = set(re.findall(r"^(?:.*&& |.*\| )?mien (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert named
    assert named <= known


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text(encoding="utf-8")))))
def test_every_link_leads_somewhere(target):
    assert (README.parent / target).exists()


def test_every_room_of_the_map_exists():
    block = README.read_text(encoding="utf-8").split("src/mien/\n", 1)[1].split("```", 1)[0]
    for line in block.splitlines():
        if match := re.match(r"  (\S+)  ", line):
            assert (README.parent / "src/mien" / match[1]).exists(), match[1]


def test_the_map_has_a_line_for_every_room_of_the_training_wing():
    block = README.read_text(encoding="utf-8").split("\n  train/  ", 1)[1].split("\n  cli/  ", 1)[0]
    listed = set(re.findall(r"^    (\S+)/  ", block, re.MULTILINE))
    assert listed == {file.parent.name for file in (ROOT / "src/mien/train").glob("*/*.*") if file.parent.name != "__pycache__"}
