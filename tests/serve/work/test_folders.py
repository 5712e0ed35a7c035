"""A private folder goes with its service, or with the next one after a kill."""

import os

from mien.serve.work import folders
from mien.serve.work.folders import PrivateFolder


def test_the_folder_is_private_and_another_service_leaves_it_alone(tmp_path):
    with PrivateFolder(tmp_path) as mine, PrivateFolder(tmp_path) as other:
        assert mine.path.stat().st_mode & 0o777 == 0o700
        assert mine.path.is_dir()
        assert other.path != mine.path
    assert list(tmp_path.iterdir()) == []


def test_folders_without_an_owner_are_removed_at_the_next_start_and_links_are_not_followed(tmp_path):
    orphan, fresh, old = (tmp_path / f"{folders.PREFIX}{name}" for name in ("orphan", "fresh", "old"))
    for folder in (orphan, fresh, old):
        folder.mkdir()
        (folder / "upload").write_text("a face")
    (orphan / folders.LOCK).touch()
    os.utime(old, (1, 1))
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / folders.LOCK).touch()
    (tmp_path / f"{folders.PREFIX}link").symlink_to(precious)
    folders.remove_orphans(tmp_path)
    assert (orphan.exists(), fresh.exists(), old.exists(), precious.exists()) == (False, True, False, True)
