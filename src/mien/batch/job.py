"""Runs a job: plans or resumes it, runs an engine, stores the finished shards, and checks that nothing is missing."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from mien.batch.check import records_in
from mien.batch.files import room
from mien.batch.folder import Entry, Identity, JobFolder, differences
from mien.batch.inputs import shown
from mien.batch.listing import inputs
from mien.batch.plan import Plan, Planned, Shard
from mien.batch.settings import Settings
from mien.batch.tally import MAY_PASS, Tally, total
from mien.batch.workers import Done, Task
from mien.errors import JobError, UsageError
from mien.media.sources import absolute

PROGRESS_EVERY_S = 1.0
Tell = Callable[[int, int], None]


class Engine(Protocol):
    """Runs tasks and yields each one when it is finished, in any order. Closing the iterator stops all work."""

    name: str

    def run(self, tasks: Iterator[Task], settings: Settings, scratch: Path, tell: Tell) -> Generator[Done]:
        """Yield finished shards.

        Args:
            tasks: the tasks; one is taken whenever a worker is free.
            settings: shared by all workers.
            scratch: an empty folder for parts that are not stored yet.
            tell: called from time to time, in any thread, with a shard and the number of its finished inputs.
        """


@dataclass(frozen=True)
class Progress:
    """The progress of a job, in inputs. Earlier runs finished ``done_before``. ``errors`` counts error records of finished shards."""

    inputs: int
    done: int
    done_before: int
    errors: int
    faces: int
    seconds: float
    engine: str

    @property
    def rate(self) -> float:
        """Inputs per second in this run."""
        return (self.done - self.done_before) / max(self.seconds, 1e-6)

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate; None while it is unknown."""
        return (self.inputs - self.done) / self.rate if self.done > self.done_before else None


@dataclass(frozen=True)
class Outcome:
    """A finished job: its numbers, and the number of shards that this run processed."""

    planned: Planned
    tally: Tally
    shards_now: int
    seconds_now: float

    @property
    def may_pass(self) -> int:
        """Number of error records that a retry may turn into results."""
        return sum(count for code, count in self.tally.errors.items() if code in MAY_PASS)


def run_job(
    path: Path,
    sources: Sequence[str],
    settings: Settings,
    engine: Engine,
    *,
    column: str | None = None,
    retry_errors: bool = False,
    on_plan: Callable[[Planned, int], None] = lambda *_: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Run a job, or the rest of it. Return its numbers when every input has its records.

    Args:
        path: the job's folder.
        sources: see :func:`mien.batch.listing.inputs`.
        settings: from :meth:`Settings.checked`.
        engine: runs the shards.
        column: name of the column with the inputs, for lists that are tables.
        retry_errors: run shards again if they have errors that may pass.
        on_plan: called with the plan and the number of shards that are left.
        on_progress: called with the progress, about once per second.

    Raises:
        UsageError: the call is wrong, or the folder has another job or other content.
        JobError: the job had to stop; the same call continues it.
        MediaError: a source cannot be listed.
    """
    folder = JobFolder(path)
    is_new = not path.exists()
    identity = _wanted(sources, settings, column)
    _check_same(folder, identity)
    with folder.locked():
        try:
            planned = _plan(folder, identity, sources, column, settings.shard)
        except BaseException:
            if is_new:
                shutil.rmtree(path)
            raise
        shards = folder.plan.shards()
        entries = {n: entry for n, entry in folder.entries().items() if folder.present(entry) and not (retry_errors and _may_pass(entry))}
        todo = [shard for shard in shards if shard.number not in entries]
        on_plan(planned, len(todo))
        began = time.monotonic()
        watch = _Watch(folder, planned.inputs, entries, engine.name, on_progress)
        if todo:
            with closing(engine.run(_tasks(folder.plan, todo), settings, folder.scratch, watch.tell)) as finished:
                for done in finished:
                    entries[done.shard] = folder.take(done, settings.format)
                    watch.add(entries[done.shard])
            watch.write()
        tally = _checked(folder, shards, entries, settings.format)
        outcome = Outcome(planned, tally, len(todo), time.monotonic() - began)
        with room(folder.path):
            folder.write_json("summary.json", {"planned": asdict(planned), "tally": tally.to_dict()})
        return outcome


def dry_run(path: Path, sources: Sequence[str], settings: Settings, column: str | None = None) -> tuple[Planned, int]:
    """Return the plan of :func:`run_job`, and the number of finished shards. Nothing is written to the folder."""
    folder = JobFolder(path)
    identity = _wanted(sources, settings, column)
    _check_same(folder, identity)
    if there := folder.identity():
        return there.planned, sum(map(folder.present, folder.entries().values()))
    with tempfile.TemporaryDirectory(prefix="mien-batch-") as scratch:
        return Plan(Path(scratch)).write(inputs(sources, column), settings.shard), 0


def read_progress(path: Path) -> tuple[Progress | None, Tally, Planned, bool]:
    """Return the last progress of a job, the sum of its finished shards, its plan, and whether it runs now.

    Raises:
        JobError: there is no job in the folder.
    """
    folder = JobFolder(path)
    if (identity := folder.identity()) is None:
        at_work = " (one is being planned)" if folder.is_locked() else ""
        raise JobError(f"expected the folder of a job, got {path}, which holds none{at_work}; name the --output of mien batch")
    try:
        progress = Progress(**json.loads((path / "progress.json").read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError):
        progress = None
    return progress, total(entry.tally for entry in folder.entries().values()), identity.planned, folder.is_locked()


class _Watch:
    """Sums the finished inputs and reports the progress at most once per second."""

    def __init__(
        self, folder: JobFolder, inputs: int, entries: Mapping[int, Entry], engine: str, on_progress: Callable[[Progress], None]
    ) -> None:
        self._folder, self._inputs, self._engine, self._on_progress = folder, inputs, engine, on_progress
        self._before = self._done = sum(entry.tally.inputs for entry in entries.values())
        self._errors = sum(sum(entry.tally.errors.values()) for entry in entries.values())
        self._faces = sum(entry.tally.faces for entry in entries.values())
        self._under_way: dict[int, int] = {}
        self._began = self._last = time.monotonic()
        self._lock = Lock()

    def tell(self, shard: int, done: int) -> None:
        """Update the progress of a running shard."""
        with self._lock:
            self._under_way[shard] = done
            if time.monotonic() - self._last >= PROGRESS_EVERY_S:
                self._write()

    def add(self, entry: Entry) -> None:
        """Add a finished shard."""
        with self._lock:
            self._under_way.pop(entry.shard, None)
            self._done += entry.tally.inputs
            self._errors += sum(entry.tally.errors.values())
            self._faces += entry.tally.faces
            if time.monotonic() - self._last >= PROGRESS_EVERY_S:
                self._write()

    def write(self) -> None:
        """Write the current progress."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        self._last = time.monotonic()
        done = self._done + sum(self._under_way.values())
        progress = Progress(self._inputs, done, self._before, self._errors, self._faces, self._last - self._began, self._engine)
        self._folder.write_progress(asdict(progress))
        self._on_progress(progress)


_NOTHING = Planned(0, 0, 0, 0, 0, 0, 0, "")


def _wanted(sources: Sequence[str], settings: Settings, column: str | None) -> Identity:
    """Return the identity of the requested job, before it is planned."""
    chosen = {} if column is None else {"column": column}
    return Identity({**settings.identity(), **chosen}, tuple(map(_absolute, sources)), _NOTHING)


def _check_same(folder: JobFolder, wanted: Identity) -> None:
    there = folder.identity()
    if there is None:
        folder.check_ours()
        return
    different = [*differences(there.settings, wanted.settings), *differences({"sources": there.sources}, {"sources": wanted.sources})]
    if different:
        raise UsageError(f"{folder.path} holds another job ({'; '.join(different)}); name another folder, or repeat that job's command")


def _plan(folder: JobFolder, identity: Identity, sources: Sequence[str], column: str | None, shard: int) -> Planned:
    if there := folder.identity():
        return there.planned
    with room(folder.path):
        planned = folder.plan.write(inputs(sources, column), shard)
        folder.write_identity(Identity(identity.settings, identity.sources, planned))
    return planned


def _tasks(plan: Plan, shards: Sequence[Shard]) -> Iterator[Task]:
    return (Task(shard.number, plan.lines(shard)) for shard in shards)


def _may_pass(entry: Entry) -> bool:
    return any(code in MAY_PASS for code in entry.tally.errors)


def _checked(folder: JobFolder, shards: Sequence[Shard], entries: Mapping[int, Entry], kind: str) -> Tally:
    """Return the sum of a complete job, after every part has been read again as a check.

    Raises:
        JobError: a part is missing or damaged. It is marked, so that the same command makes it again.
    """
    damaged = []
    for shard in shards:
        entry = entries.get(shard.number)
        whole = entry is not None and folder.intact(entry) and entry.tally.inputs == shard.count
        if entry is None or not whole or records_in(folder.records / str(entry.part), kind) != entry.tally.records:
            damaged.append(shard.number)
            if entry is not None:
                folder.give_up(entry)
    if damaged:
        raise JobError(f"{len(damaged)} of {len(shards)} parts are missing or damaged; run the same command again to make them anew")
    return total(entry.tally for entry in entries.values())


def _absolute(source: str) -> str:
    return shown(source if "://" in source else absolute(source))
