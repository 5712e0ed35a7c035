"""A program that PyInstaller freezes finds the models, the detector and the rooms that are loaded late."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

# What lies in the environment of the tests and in no environment of a user who freezes; PyInstaller would take minutes to look into it.
NOT_WANTED = (
    "IPython",
    "ai_edge_litert",
    "av",
    "cv2",
    "fsspec",
    "jax",
    "jinja2",
    "keras",
    "matplotlib",
    "onnx",
    "openvino",
    "pandas",
    "polars",
    "pyarrow",
    "pydantic",
    "pytest",
    "ray",
    "requests",
    "scipy",
    "setuptools",
    "skimage",
    "sklearn",
    "sympy",
    "tensorflow",
    "torch",
)
PROGRAM = """
import sys
import mien
result = mien.analyze(sys.argv[1])
print([face.top for face in result.faces], result.model.name)
from mien.bundles import shipped
print(shipped())
from mien.assets import demo_photo
print(demo_photo().is_file())
"""


def hook_folders() -> list[str]:
    """Return what the package's entry point tells PyInstaller."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, name = project["entry-points"]["pyinstaller40"]["hook-dirs"].split(":")
    folders: list[str] = getattr(importlib.import_module(module), name)()
    return folders


@pytest.mark.slow
def test_a_frozen_program_answers(tmp_path: Path) -> None:
    from mien.assets import demo_photo

    (tmp_path / "program.py").write_text(PROGRAM)
    hooks = [option for folder in hook_folders() for option in ("--additional-hooks-dir", folder)]
    leave_out = [option for name in NOT_WANTED for option in ("--exclude-module", name)]
    freeze = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR", *hooks, *leave_out, "program.py"]
    subprocess.run(freeze, cwd=tmp_path, check=True, capture_output=True, timeout=900)
    done = subprocess.run([tmp_path / "dist/program/program", demo_photo()], cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["['happy'] default", "('default', 'fer2013', 'ferplus', 'nano')", "True"]), (
        done.stderr
    )
