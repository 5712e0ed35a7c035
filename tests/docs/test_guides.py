"""The pages for maintainers name what is there: files that follow a new model, versions of formats, and decisions in one order."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from mien.bundles import shipped, weights_dir
from mien.contract import CONTRACT_VERSION, InputSpec
from mien.results import SCHEMA
from tests.docs.workplace import ROOT
from tools.generated import front_matter

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
TOLD = ["Context", "Decision", "Why", "What it costs", "When to look at it again"]
RETRAIN, POLICY, RELEASING = ROOT / "docs" / "retrain.md", ROOT / "docs" / "policy.md", ROOT / "RELEASING.md"
TEXT = {".md", ".json", ".ipynb", ".py", ".js", ".toml", ".html"}


def named_in(page: Path) -> list[str]:
    """The files that a page names in code, with folders; a name without a folder belongs to the folder of the name before it."""
    found, folder = [], ""
    for name in re.findall(r"`([\w*./-]+\.[\w*]+)`", page.read_text(encoding="utf-8")):
        folder = name.rpartition("/")[0] if "/" in name else folder
        found += [name] if "/" in name else [name, f"{folder}/{name}"]
    return found


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_says_what_all_say(page: Path) -> None:
    said = front_matter(page)
    text = page.read_text(encoding="utf-8")
    assert list(said) == ["title", "decided", "choice"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", said["decided"])
    assert f"\n# {said['title']}\n" in text
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == TOLD
    assert 15 <= len(text.splitlines()) <= 40, "a record is short"


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name.split("-")[0]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("page", [*DECISIONS, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    made_at_build = {"contributing.md", "changelog.md", "releasing.md"}
    for link in re.findall(r"\]\(([\w./-]+\.md)[)#]", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists() or Path(link).name in made_at_build, link


def test_every_file_that_holds_a_models_checksum_is_named_in_the_checklist() -> None:
    checksums = {InputSpec.read(weights_dir() / name / "spec.json").model_sha256 for name in shipped()}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    files = [ROOT / name for name in tracked] or [file for part in ("docs", "src", "tests", "models") for file in (ROOT / part).rglob("*")]
    holding = {
        str(file.relative_to(ROOT))
        for file in files
        if file.suffix in TEXT and file.is_file() and any(one in file.read_text(encoding="utf-8") for one in checksums)
    }
    assert len(holding) >= len(shipped())
    named = named_in(RETRAIN)
    assert [file for file in sorted(holding) if not any(fnmatch(file, name) for name in named)] == []


@pytest.mark.parametrize("folder", ["docs/images", "benchmarks/results", "tests/golden"])
def test_every_picture_result_and_golden_file_is_named_in_the_checklist(folder: str) -> None:
    named = named_in(RETRAIN) + re.findall(r"`(tests/golden/\w+)`", RETRAIN.read_text(encoding="utf-8"))
    here = [f"{folder}/{file.name}" for file in (ROOT / folder).iterdir()]
    assert [file for file in here if not any(file in (name, f"{name}.json") for name in named)] == []


def test_the_checklist_names_files_that_exist() -> None:
    named = {name for name in named_in(RETRAIN) if re.match(r"(?:src|tests|docs|models|benchmarks)/[\w./*-]+$", name)}
    written_later = {"metrics.json", "card.md"}  # mien evaluate writes them
    bare = {name for name in re.findall(r"`([\w*./-]+\.[\w*]+)`", RETRAIN.read_text(encoding="utf-8")) if "/" in name}
    assert len(bare & named) > 20
    assert [name for name in bare & named if not list(ROOT.glob(name)) and Path(name).name not in written_later] == []


def test_the_policy_has_every_formats_version() -> None:
    text = POLICY.read_text(encoding="utf-8")
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py"))
    schemas = set(re.findall(r'"(mien(?:-[a-z-]+)?/\d+)"', code))
    assert SCHEMA in schemas
    assert set(re.findall(r"\| `(mien(?:-[a-z-]+)?/\d+)` \|", text)) == schemas
    assert f"| bundles | `{CONTRACT_VERSION}` |" in text


def test_the_release_guide_names_files_that_exist() -> None:
    named = re.findall(
        r"`((?:src|docs|\.ci|\.github)/[\w./-]+|[A-Z]+\.(?:md|cff)|pyproject\.toml|\.dockerignore)`", RELEASING.read_text("utf-8")
    )
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_dependencies_that_are_watched_are_those_of_the_repository() -> None:
    watched = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))
    assert watched["version"] == 2
    assert {update["package-ecosystem"] for update in watched["updates"]} == {"pip", "github-actions"}
    ignored = {rule["dependency-name"] for update in watched["updates"] for rule in update.get("ignore", ())}
    ceilings = set(re.findall(r'"([\w-]+)>=[^"]*,<', (ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    assert ignored == ceilings, "a dependency with a ceiling is raised by hand, and no other"
