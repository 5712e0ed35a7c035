"""A job's folder: what was planned, what is done, and which parts hold it.

::

    job.json         what tells this job from another, and how much was planned; written last, so that a plan is whole or not there
    plan.jsonl       one line per input;  shards.jsonl  how they are cut
    manifest.jsonl   a line a finished shard: its part, checksum and tally; the last line of a shard counts
    records/         part-000000.parquet, ...: one a shard, whole or not there
    progress.json    what a running job is at;  summary.json, report.html  what a finished one came to
    lock             held by the process that works here
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

# What a planning that was stopped may leave: these files, and the two folders without anything in them.
WRITTEN = ("plan.jsonl", "shards.jsonl", "job.json")
OLDER_DRAFTS = ("plan.jsonl.part", "shards.jsonl.part", "job.json.part")  # of earlier versions
DRAFTS = ("lock", "plan.draft", "plan.jsonl", "shards.jsonl", *(draft_of(Path(name)).name for name in WRITTEN), *OLDER_DRAFTS)
EMPTY = ("records", "scratch")


@dataclass(frozen=True)
class Entry:
    """A line of the manifest: the part of a shard and what is in it; ``part`` is None where a part was found damaged."""

    shard: int
    part: str | None
    sha256: str
    size: int
    tally: Tally


@dataclass(frozen=True)
class Identity:
    """What ``job.json`` says: the settings that the records depend on, the sources as they were named, and what was planned."""

    settings: dict[str, Any]
    sources: tuple[str, ...]
    planned: Planned


class JobFolder:
    """Reads and writes the files of a job; never more than one process writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan = Plan(path)
        self.records = path / "records"
        self.scratch = path / "scratch"
        self._manifest = path / "manifest.jsonl"

    def identity(self) -> Identity | None:
        """Return what job is here, None where there is none.

        Raises:
            JobError: the folder holds something else, or a job of another version.
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
        """Raise UsageError if the folder holds files that no unfinished planning of a job has left."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UsageError(f"expected a folder for the job, got the file {self.path}; name a folder")
        foreign = sorted(file.name for file in self.path.iterdir() if not _is_draft(file))
        if foreign:
            there = ", ".join(foreign[:3])
            raise UsageError(f"expected a new folder or one of a job, got {self.path}, which holds {there}; name another")

    def write_identity(self, identity: Identity) -> None:
        """Make the plan count."""
        self.write_json("job.json", asdict(identity))

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a small file that appears whole."""
        write_whole(self.path / name, json.dumps(values, indent=1).encode("ascii") + b"\n")

    def write_progress(self, values: Mapping[str, Any]) -> None:
        """Say where the job is; it may be lost with the power, and a full disk does not stop the work for it."""
        with suppress(OSError), atomic_write(self.path / "progress.json") as draft:
            draft.write_text(json.dumps(values), encoding="ascii")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the system lets go of it when the process ends, however it ends.

        Raises:
            JobError: another process works here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("ab") as lock:
            if not _try_lock(lock):
                raise JobError(f"another process works on {self.path}; wait for it, or see `mien batch status {self.path}`")
            self.records.mkdir(exist_ok=True)
            shutil.rmtree(self.scratch, ignore_errors=True)  # what a killed run left half done
            self.scratch.mkdir()
            try:
                yield
            finally:
                shutil.rmtree(self.scratch, ignore_errors=True)

    def is_locked(self) -> bool:
        """Return whether a process works here now."""
        try:
            with (self.path / "lock").open("rb") as lock:
                return not _try_lock(lock)
        except OSError:
            return False

    def take(self, done: Done, suffix: str) -> Entry:
        """Give a finished part its place and note it in the manifest, in this order, so that what is noted is there.

        Raises:
            JobError: the system refuses, or the content did not arrive whole.
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
        """Note that a part is not what it was, so that the next run makes it again."""
        self._note(Entry(entry.shard, None, "", 0, Tally()))

    def entries(self) -> dict[int, Entry]:
        """Return shard -> the newest line of the manifest; a line that was cut by a kill does not count."""
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
        """Return whether a part is there with its size; :meth:`intact` reads it, too."""
        try:
            return (self.records / str(entry.part)).stat().st_size == entry.size
        except OSError:
            return False

    def intact(self, entry: Entry) -> bool:
        """Return whether a part is there, byte for byte."""
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
    """Return sentences on what differs between two jobs' settings.

    >>> differences({"model": "a 1"}, {"model": "b 1"})
    ["model: 'a 1' there, 'b 1' here"]
    """
    keys = dict.fromkeys((*there, *wanted))
    return [f"{key}: {there.get(key)!r} there, {wanted.get(key)!r} here" for key in keys if there.get(key) != wanted.get(key)]


def _is_draft(file: Path) -> bool:
    return (file.is_file() and file.name in DRAFTS) or (file.is_dir() and file.name in EMPTY and not any(file.iterdir()))


def _cut_to_whole_lines(file: BinaryIO) -> None:
    """Cut what a kill or a full disk left behind the last line break."""
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
