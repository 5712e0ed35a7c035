"""Nothing is undocumented: verbs, options, pages, and the files that the contribution guide sends people to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from mien.cli import app
from tests.docs.workplace import ROOT
from tools import generated

WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = dict(generated.verbs(typer.main.get_command(app)))
MADE_AT_BUILD = {"contributing.md", "changelog.md", "releasing.md"}


@pytest.fixture(scope="module")
def command_line() -> dict[str, str]:
    """Verb -> its section of the page on the command line."""
    sections = re.split(r"^## mien (.+)$", generated.command_line(), flags=re.MULTILINE)[1:]
    return dict(zip(sections[::2], sections[1::2], strict=True))


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_and_page_say_the_same(verb: str, command_line: dict[str, str]) -> None:
    help_text = CliRunner().invoke(app, [*verb.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}).output
    options = set(re.findall(r"(?<=[ │])--[a-z][a-z0-9-]+(?= )", help_text)) - {"--help"}
    assert {option for option in options if f"`{option}`" not in command_line[verb]} == set()


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_explains_itself(verb: str) -> None:
    silent = [parameter.name for parameter in COMMANDS[verb].params if not getattr(parameter, "help", None)]
    assert silent == []
    assert len(COMMANDS[verb].help) > 20


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_is_shown_at_work(verb: str) -> None:
    call = re.compile(rf"\bmien {verb}\b")
    assert any(call.search(page.read_text(encoding="utf-8")) for page in WRITTEN), f"no page shows: mien {verb}"


def test_every_page_is_in_the_menu() -> None:
    menu = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(menu) == len(set(menu))
    docs = ROOT / "docs"
    pages = {
        str(page.relative_to(docs)) for page in docs.rglob("*.md") if page.parent.name != "experiments"
    }  # docs/experiments.md lists those
    assert set(menu) == pages | MADE_AT_BUILD


@pytest.mark.parametrize("block", generated.BLOCKS)
def test_every_generated_block_has_a_place_and_says_something(block: str) -> None:
    assert any(f"<!-- generated: {block} -->" in page.read_text(encoding="utf-8") for page in WRITTEN)
    assert len(generated.BLOCKS[block]()) > 50


def test_the_contribution_guide_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|tests|docs|\.ci)/[\w./-]+|[A-Z]+\.md|pyproject\.toml)`", text)
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_contribution_guide_names_things_that_exist() -> None:
    for file, name in (
        ("src/mien/train/models/__init__.py", "FAMILIES = {"),
        ("tests/train/models/test_models.py", "def test_sizes_are_the_promised_ones"),
        ("src/mien/detect/__init__.py", "def find_detector("),
        ("src/mien/detect/base.py", "def search("),
        ("src/mien/contract.py", "FORMATS = ("),
        ("src/mien/cli/__init__.py", "VERBS: "),
    ):
        assert name in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda file: file.name)
def test_templates_and_workflows_are_well_formed(file: Path) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if file.parent.name == "ISSUE_TEMPLATE" and file.stem != "config":
        assert {"name", "description", "body"} <= set(content)
        assert all(part["type"] == "markdown" or part["id"] for part in content["body"])
    if file.parent.name == "workflows":
        assert "bash .ci/run" in file.read_text(encoding="utf-8")


def test_the_citation_has_what_the_format_requires() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


@pytest.mark.parametrize("page", sorted((generated.ROOT / "docs").glob("*.md")), ids=lambda page: str(page.name))
def test_generated_blocks_in_the_repository_say_what_the_code_says(page: Path) -> None:
    assert not generated.old_blocks(page.read_text(encoding="utf-8")), "run: python -m tools.generated"
