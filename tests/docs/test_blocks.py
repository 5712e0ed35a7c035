"""Every block of code in the README and the documentation runs as it stands, in the order of its page."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from sybil import Document
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from tests.docs.workplace import ROOT, commands, environment, prepare, shortened, website
from tests.serve.running import running
from tests.train import made_up

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
SHELL = {"", "sh", "bash", "shell", "console"}  # a block without a language is commands
DATA: dict[str, Callable[[str], Any]] = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
PROSE = {"text", "kotlin", "html"}  # tests/page/test_edge.py opens the page
CALLS = ("mien ", "pip ", "python ", "curl ")  # how a block begins that is commands, whatever it says
SERVICE = "http://127.0.0.1:8000"
# Blocks that cannot run here, by page and how they begin. Nothing else is left out.
NOT_RUN = {
    ("CONTRIBUTING.md", "pip install -e '.[dev]' && pytest"): "is the run that this test is part of",
    ("README.md", "pip install -e '.[dev]' && pytest"): "is the run that this test is part of",
    ("docs/web.md", "mien web install-runtime"): "fetches 33 MB; tests/page/test_runtime.py does it with a small one",
    ("docs/batch.md", "pip install '.[ray]'\nmien batch s3://"): "needs a cluster and a bucket; tests/batch/test_cluster.py makes both",
    (
        "docs/edge.md",
        "mien export --format litert-int8",
    ): "sets 8-bit ranges on FER2013; tests/train/export does it for a small network",
    ("docs/experiments.md", "python -m mien.train.campaign"): "trains large networks on an accelerator; test_campaign runs a small one",
    ("RELEASING.md", "git clone . ../mien-release"): "is the run that this test is part of, on a clone",
    ("RELEASING.md", "git clone --branch v0.2.0"): "needs the tag of a release; tests/test_packaging.py builds both files",
    ("RELEASING.md", "python -m venv ../clean"): "installs what the step before built; .ci/run does the same",
    ("docs/retrain.md", "mien train --data fer2013"): "trains the default; docs/training.md runs a short training",
    ("docs/retrain.md", "mien export runs/new"): "takes the network of the step before; docs/training.md runs an export",
    ("docs/retrain.md", "python -m tools.ship"): "replaces the models of the package; tests/tools/test_ship.py does it in a copy",
    ("docs/retrain.md", "for model in"): "writes into the models of the package; tests/cli/test_evaluate.py does it with a small bundle",
    ("docs/retrain.md", "python -m tools.readme --check"): "includes the run that this test is part of",
}
# What a page takes for granted.
GIVEN_BUNDLES = {"docs/evaluation.md": ("bundles/mine",), "docs/edge.md": ("bundles/mine",)}
TREE = re.compile(r"\S+/\n")  # a block that begins with a folder is a drawing of it
SECONDS = 900  # of one block; training on a busy machine
LANGUAGE = re.compile(r"(?P<language>[\w-]*)[^\n]*\n")

Block = tuple[int, str, str]  # line, language, source


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, but for drawings."""
    document = Document(page.read_text(encoding="utf-8"), str(page))
    regions = RawFencedCodeBlockLexer(LANGUAGE, {"language": "language", "source": "source"})(document)
    found = [
        (document.text.count("\n", 0, region.start) + 1, region.lexemes["language"], str(region.lexemes["source"])) for region in regions
    ]
    return [
        (line, "sh" if source.startswith(CALLS) else language, source)
        for line, language, source in found
        if not (language == "" and TREE.match(source))
    ]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def runs(page: Path, source: str) -> bool:
    return not any(name_of(page) == name and source.startswith(begin) for name, begin in NOT_RUN)


PAGES_WITH_CODE = [page for page in PAGES if any(language not in PROSE and runs(page, source) for _, language, source in blocks(page))]


@pytest.mark.slow  # pages on training start TensorFlow a few times
@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=name_of)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(tmp_path)
    for bundle in GIVEN_BUNDLES.get(name_of(page), ()):
        made_up.brightness_bundle(folder / bundle)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    names: dict[str, Any] = {"paths": sorted(Path("holiday").iterdir())}
    talks_to_service = SERVICE in page.read_text(encoding="utf-8")
    with website(folder / "site") as site, running() if talks_to_service else nullcontext(SERVICE) as service:
        for line, language, source in blocks(page):
            if not runs(page, source) or language in PROSE:
                continue
            where = f"{name_of(page)}:{line}"
            if language in DATA:
                DATA[language](source)
                continue
            script = shortened(source if language == "python" else commands(source), site).replace(SERVICE, service)
            if language == "python":
                exec(compile(script, where, "exec"), names)
            else:
                shell(where, script, folder)


def shell(where: str, script: str, folder: Path) -> None:
    """Run a script, and fail where it fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{where}\n{script}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert {language for _, language, _ in blocks(page)} <= SHELL | set(DATA) | PROSE | {"python"}


@pytest.mark.parametrize(("page", "begin"), NOT_RUN, ids=" ".join)
def test_what_does_not_run_is_really_there(page: str, begin: str) -> None:
    assert any(source.startswith(begin) for _, _, source in blocks(ROOT / page))
