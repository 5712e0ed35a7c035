"""What is uploaded is what is here: the wheel that is built from the sdist has every file of the package, and works alone."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

import mien

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "mien"
NOT_SHIPPED = {"__pycache__"}

pytestmark = pytest.mark.slow  # packs and installs


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a new sdist, and of the wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    with tempfile.TemporaryDirectory(dir=ROOT, prefix="environment-") as stray:  # such as people make beside the sources
        (Path(stray) / "pyvenv.cfg").touch()
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (file,) = dist.glob("*.whl")
    return file


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    here = {
        str(file.relative_to(PACKAGE.parent))
        for file in PACKAGE.rglob("*")
        if file.is_file() and not NOT_SHIPPED & {part.name for part in file.parents}
    }
    with zipfile.ZipFile(wheel) as packed:
        there = {name for name in packed.namelist() if name.startswith("mien/")}
    assert there == here
    for kind in (
        "weights/default/model.onnx",
        "train/recipes/nano.toml",
        "train/report/templates/report.html.j2",
        "serve/page/index.html",
        "py.typed",
    ):
        assert f"mien/{kind}" in there


def test_the_version_is_the_one_in_the_source(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(packed.read(name))
    assert metadata["Version"] == mien.__version__
    assert metadata["License-Expression"] == "MIT"


def test_the_sdist_has_what_its_tests_and_pages_need(dist: Path) -> None:
    (file,) = dist.glob("*.tar.gz")
    with tarfile.open(file) as packed:
        there = {name.split("/", 1)[-1] for name in packed.getnames()}
    needed = {
        "README.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "mkdocs.yml",
        "docs/index.md",
        "examples/one_photo.py",
        "tests/tools/test_readme.py",
        "tools/readme.py",
    }
    assert needed <= there
    assert not [name for name in there if "pyvenv.cfg" in name]


def test_the_wheel_works_alone(wheel: Path, tmp_path: Path) -> None:
    """Unpacked where nothing else is, and run by a Python that ignores this working tree."""
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)], check=True
    )
    code = f"""
import sys
sys.path.insert(0, {str(site)!r})
import mien.cli
print(mien.__file__)
sys.argv = ["mien", "demo"]
mien.cli.main()
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    assert "happy" in done.stdout
    assert (tmp_path / "mien-demo.jpg").is_file()


def test_the_version_is_read_from_its_leaf_module_and_not_from_the_top_package() -> None:
    """import-linter cannot forbid an import of the root package."""
    outside_training = [file for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE and "train" not in file.relative_to(PACKAGE).parts]
    assert [file for file in outside_training if re.search(r"^\s*(import mien$|from mien import)", file.read_text(), re.MULTILINE)] == []
