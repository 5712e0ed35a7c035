"""The examples run as their first lines say, on small real inputs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mien.bundles import open_bundle
from mien.media.images import read_photo
from tests.docs.workplace import ROOT, environment, prepare
from tests.serve.running import running

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("examples"))


def run(workplace: Path, name: str, *arguments: object) -> str:
    """Run an example as a person would, and return what it prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *map(str, arguments)],
        cwd=workplace,
        env=environment(workplace),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_photo(workplace: Path) -> None:
    assert run(workplace, "one_photo.py", "photo.jpg", "marked.jpg").startswith(("face 1: happy 0.9", "face 1: happy 1.0"))
    assert read_photo(workplace / "marked.jpg").frame_rgb.shape == read_photo(workplace / "photo.jpg").frame_rgb.shape


def test_folder_chart(workplace: Path) -> None:
    assert run(workplace, "folder_chart.py", "holiday", "chart.png") == "2 faces: chart.png\n"
    assert read_photo(workplace / "chart.png").frame_rgb.shape[1] > 300


def test_live_terminal(workplace: Path) -> None:
    assert "person 1  happy" in run(workplace, "live_terminal.py", "talk.mp4")


def test_parquet_duckdb(workplace: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "mien", "video", "talk.mp4", "--output", "talk.parquet"],
        cwd=workplace,
        env=environment(workplace),
        check=True,
        capture_output=True,
    )
    head, row = run(workplace, "parquet_duckdb.py", "talk.parquet").splitlines()
    assert head.split() == ["source", "person", "label", "seconds", "confidence"]
    source, person, label, seconds, _ = row.split("\t")
    assert (source, person, label) == ("talk.mp4", "1", "happy")
    assert float(seconds) == pytest.approx(11 / 25, abs=0.01)


def test_rest_client(workplace: Path) -> None:
    (workplace / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with running() as address:
        answer = run(workplace, "rest_client.py", address, "photo.jpg", "broken.jpg").splitlines()
    assert answer[0] == "photo.jpg: happy"
    assert answer[1].startswith("broken.jpg: corrupt_media: ")


@pytest.mark.slow  # starts TensorFlow
def test_own_labels(workplace: Path) -> None:
    said = run(workplace, "own_labels.py", "faces", "bundle", 6).splitlines()
    assert said[0].startswith("epoch 1: ")
    assert open_bundle(workplace / "bundle").spec.labels == ("awake", "tired")
    assert said[-1].split(": ")[1].split()[0] in ("awake", "tired")


TESTED_ELSEWHERE = {"onnx_only.py"}


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_is_short_explained_and_run(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(source))
    assert said
    assert f"python examples/{file.name}" in said
    assert 10 <= len(source.splitlines()) <= 45
    assert f"test_{file.stem}" in globals() or file.name in TESTED_ELSEWHERE
