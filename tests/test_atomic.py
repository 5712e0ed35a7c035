"""A file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

import mien
from mien import atomic
from mien.atomic import atomic_write, draft_of

SOURCES = sorted(Path(mien.__file__).parent.rglob("*.py"))
# What gives files their names by other means, and why.
OTHERS = {
    "atomic.py": "is the one place",
    "media/video_writer.py": "FFmpeg holds the draft open from the first frame to the last",
    "cli/output.py": "records that are whole keep the name, or one beside it, when a command ends early",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "answers.json"
    path.write_text("old")
    return path


@pytest.mark.parametrize("durable", [False, True], ids=["quick", "durable"])
def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(file: Path, durable: bool) -> None:
    with atomic_write(file, durable=durable) as draft:
        draft.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("durable", [False, True], ids=["quick", "durable"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
def test_what_fails_leaves_the_old_file_and_no_draft(file: Path, durable: bool, error: BaseException) -> None:
    def fail() -> None:
        with atomic_write(file, durable=durable) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]


def test_a_durable_file_is_on_the_disk_before_it_has_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content first, then the name, then the folder's list of names."""
    steps: list[str] = []
    sync, replace = atomic.sync, os.replace

    def watched_sync(path: Path) -> None:
        steps.append(f"sync {path.name}")
        sync(path)

    def watched_replace(source: Path, target: Path) -> None:
        steps.append(f"name {target.name}")
        replace(source, target)

    monkeypatch.setattr(atomic, "sync", watched_sync)
    monkeypatch.setattr(os, "replace", watched_replace)
    with atomic_write(file, durable=True) as draft:
        draft.write_text("new")
    assert steps == [f"sync {draft_of(file).name}", "name answers.json", f"sync {file.parent.name}"]


def test_nothing_else_in_the_package_renames_files_by_itself() -> None:
    package = Path(mien.__file__).parent
    renaming = {str(path.relative_to(package)) for path in SOURCES if re.search(r"\bos\.(replace|rename)\(", path.read_text("utf-8"))}
    assert renaming - set(OTHERS) == set()
