"""A job's folder: the plan, the finished shards and their part files.

::

    job.json         the identity of the job and the size of the plan; written last, so that a plan is complete or absent
    plan.jsonl       one line per input;  shards.jsonl  the division of the plan into shards
    manifest.jsonl   one line per finished shard: its part, checksum and tally; the last line of a shard is valid
    records/         part-000000.parquet, ...: one per shard, complete or absent
    progress.json    the progress of a running job;  summary.json, report.html  the results of a finished job
    lock             locked by the process that works in this folder
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mien.atomic import atomic_write, draft_of, publish
from mien.batch.files import room, sha256_of, write_whole
from mien.batch.plan import Plan, Planned
from mien.batch.tally import Tally
from mien.batch.workers import Done
from mien.errors import JobError, UsageError

# An interrupted planning may leave these files and the two empty folders.
WRITTEN = ("plan.jsonl", "shards.jsonl", "job.json")
OLDER_DRAFTS = ("plan.jsonl.part", "shards.jsonl.part", "job.json.part")  # names in earlier versions
DRAFTS = ("lock", "plan.draft", "plan.jsonl", "shards.jsonl", *(draft_of(Path(name)).name for name in WRITTEN), *OLDER_DRAFTS)
EMPTY = ("records", "scratch")


@dataclass(frozen=True)
class Entry:
    """A line of the manifest: the part of a shard and its contents. ``part`` is None if the part was found damaged."""

    shard: int
    part: str | None
    sha256: str
    size: int
    tally: Tally


@dataclass(frozen=True)
class Identity:
    """The content of ``job.json``: the settings that the records depend on, the sources as given, and the size of the plan."""

    settings: dict[str, Any]
    sources: tuple[str, ...]
    planned: Planned


class JobFolder:
    """Reads and writes the files of a job. Only one process may write at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan = Plan(path)
        self.records = path / "records"
        self.scratch = path / "scratch"
        self._manifest = path / "manifest.jsonl"

    def identity(self) -> Identity | None:
        """Return the identity of the job in this folder, or None if there is no job.

        Raises:
            JobError: the folder has other content, or a job of another version.
        """
        file = self.path / "job.json"
        try:
            values = json.loads(file.read_text(encoding="ascii"))
            return Identity(values["settings"], tuple(values["sources"]), Planned(**values["planned"]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobError(f"{file} is not a job of this version of mien ({error}); name another folder") from None

    def check_ours(self) -> None:
        """Raise UsageError if the folder has files other than those of an interrupted planning."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UsageError(f"expected a folder for the job, got the file {self.path}; name a folder")
        foreign = sorted(file.name for file in self.path.iterdir() if not _is_draft(file))
        if foreign:
            there = ", ".join(foreign[:3])
            raise UsageError(f"expected a new folder or one of a job, got {self.path}, which holds {there}; name another")

    def write_identity(self, identity: Identity) -> None:
        """Write ``job.json``, which makes the plan valid."""
        self.write_json("job.json", asdict(identity))

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a small JSON file that appears complete or not at all."""
        write_whole(self.path / name, json.dumps(values, indent=1).encode("ascii") + b"\n")

    def write_progress(self, values: Mapping[str, Any]) -> None:
        """Write the progress of the job. A loss of power may lose it, and a full disk does not stop the work."""
        with suppress(OSError), atomic_write(self.path / "progress.json") as draft:
            draft.write_text(json.dumps(values), encoding="ascii")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder. The system releases the lock when the process ends in any way.

        Raises:
            JobError: another process works in this folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("ab") as lock:
            if not _try_lock(lock):
                raise JobError(f"another process works on {self.path}; wait for it, or see `mien batch status {self.path}`")
            self.records.mkdir(exist_ok=True)
            shutil.rmtree(self.scratch, ignore_errors=True)  # unfinished files of a killed run
            self.scratch.mkdir()
            try:
                yield
            finally:
                shutil.rmtree(self.scratch, ignore_errors=True)

    def is_locked(self) -> bool:
        """Return whether a process works in this folder now."""
        try:
            with (self.path / "lock").open("rb") as lock:
                return not _try_lock(lock)
        except OSError:
            return False

    def take(self, done: Done, suffix: str) -> Entry:
        """Move a finished part to its place, then add it to the manifest. In this order, every part in the manifest exists.

        Raises:
            JobError: the system refuses to write, or the content is incomplete.
        """
        name = f"part-{done.shard:06d}.{suffix}"
        entry = Entry(done.shard, name, done.sha256, done.size, done.tally)
        with room(self.path):
            if done.part is not None:
                publish(done.part, self.records / name)
            else:
                write_whole(self.records / name, done.content or b"")
            self._note(entry)
        return entry

    def give_up(self, entry: Entry) -> None:
        """Mark a part as damaged in the manifest, so that the next run makes it again."""
        self._note(Entry(entry.shard, None, "", 0, Tally()))

    def entries(self) -> dict[int, Entry]:
        """Return shard -> its newest line of the manifest. A line that a kill cut off is ignored."""
        found: dict[int, Entry] = {}
        for line in self._manifest_lines():
            values = json.loads(line)
            entry = Entry(**{**values, "tally": Tally.from_dict(values["tally"])})
            if entry.part is None:
                found.pop(entry.shard, None)
            else:
                found[entry.shard] = entry
        return found

    def present(self, entry: Entry) -> bool:
        """Return whether a part exists with the right size. :meth:`intact` also reads it."""
        try:
            return (self.records / str(entry.part)).stat().st_size == entry.size
        except OSError:
            return False

    def intact(self, entry: Entry) -> bool:
        """Return whether a part exists and its checksum is right."""
        return self.present(entry) and sha256_of(self.records / str(entry.part)) == entry.sha256

    def _manifest_lines(self) -> Iterator[bytes]:
        try:
            with self._manifest.open("rb") as lines:
                yield from (line for line in lines if line.endswith(b"\n"))
        except FileNotFoundError:
            return

    def _note(self, entry: Entry) -> None:
        with self._manifest.open("ab+") as manifest:
            _cut_to_whole_lines(manifest)
            manifest.write(json.dumps(asdict(entry)).encode("ascii") + b"\n")
            manifest.flush()
            os.fsync(manifest.fileno())


def differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> Sequence[str]:
    """Return one sentence per difference between the settings of two jobs.

    >>> differences({"model": "a 1"}, {"model": "b 1"})
    ["model: 'a 1' there, 'b 1' here"]
    """
    keys = dict.fromkeys((*there, *wanted))
    return [f"{key}: {there.get(key)!r} there, {wanted.get(key)!r} here" for key in keys if there.get(key) != wanted.get(key)]


def _is_draft(file: Path) -> bool:
    return (file.is_file() and file.name in DRAFTS) or (file.is_dir() and file.name in EMPTY and not any(file.iterdir()))


def _cut_to_whole_lines(file: BinaryIO) -> None:
    """Remove an incomplete line after the last line break, as a kill or a full disk leaves it."""
    size = file.seek(0, os.SEEK_END)
    start = size
    while start:
        start = max(0, start - 2**16)
        file.seek(start)
        if (last := file.read(min(2**16, size - start)).rfind(b"\n")) >= 0:
            start += last + 1
            break
    if start != size:
        file.truncate(start)
    file.seek(0, os.SEEK_END)


def _try_lock(file: BinaryIO) -> bool:
    try:
        import fcntl
    except ModuleNotFoundError:
        raise JobError("jobs need a system with file locks as Linux and macOS have; use `mien analyze` here") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
