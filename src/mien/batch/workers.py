"""Worker processes, and the recovery of their shards when they die, hang, or are killed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from mien.batch.settings import Settings
from mien.batch.tally import Tally
from mien.errors import BundleError, DetectorError, JobError, MienError, UsageError

PATIENCE = 3  # a shard may lose this many workers; then each of its inputs is tried alone
STALLED_AFTER_S = 600.0  # without a finished photo or frame; longer than any allowed download
START_WITHIN_S = 300.0  # enough for a busy machine
KNOWN = {error.code: error for error in (BundleError, DetectorError, JobError, UsageError)}


@dataclass(frozen=True)
class Task:
    """A shard for a worker. ``lines`` are its lines of the plan."""

    shard: int
    lines: bytes


@dataclass(frozen=True)
class Done:
    """A finished shard: a part file, or its ``content`` if it comes from another machine."""

    shard: int
    tally: Tally
    sha256: str
    size: int
    part: Path | None = None
    content: bytes | None = None


class WorkerLostError(Exception):
    """The process has ended, or was killed because it hung. The message says how."""


class Worker:
    """One worker process. It starts at its first use, and again after it is lost."""

    def __init__(self, settings: Settings, *, stalled_after_s: float = STALLED_AFTER_S) -> None:
        self._settings = settings
        self._stalled_after_s = stalled_after_s
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._starting = Lock()

    def run(self, task: Task, part: Path, tell: Callable[[int], None] = lambda _: None) -> Done:
        """Run a shard, and run it again if the process is lost. An input that always kills the process becomes an error record.

        Args:
            task: the shard to run.
            part: file for the records; it is flushed to the disk.
            tell: called from time to time with the number of finished inputs.

        Raises:
            JobError: the disk is full, the connection is lost, or processes keep dying and no single input is the cause.
            BundleError, DetectorError, UsageError: the worker cannot start.
        """
        lines = task.lines.decode("ascii").splitlines()
        order = {"run": task.shard, "inputs": lines, "part": str(part), "crashed": {}}
        for _ in range(PATIENCE):
            try:
                return self._run_once(order, part, tell)
            except WorkerLostError:
                pass
        order["crashed"] = self._crashed(lines)
        try:
            return self._run_once(order, part, tell)
        except WorkerLostError as error:
            raise JobError(
                f"shard {task.shard} ended {PATIENCE + 1} worker processes, though each of its inputs alone does no harm ({error}); "
                "memory may be short: run the same command with fewer workers"
            ) from None

    def stop(self) -> None:
        """Kill the process at once. Any thread may call it; the thread that waits for the process gets a JobError."""
        with self._starting:
            self._stopped = True
            if self._process:
                self._process.kill()

    def close(self) -> None:
        """End the process and free its resources."""
        self.stop()
        if self._process:
            self._reap()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _run_once(self, order: dict[str, Any], part: Path, tell: Callable[[int], None]) -> Done:
        answer = self._ask(order, tell)
        return Done(int(answer["done"]), Tally.from_dict(answer["tally"]), answer["sha256"], int(answer["bytes"]), part)

    def _crashed(self, lines: list[str]) -> dict[int, str]:
        """Return position -> sentence for the inputs that, tried alone, kill a process."""
        crashed = {}
        for position, line in enumerate(lines):
            try:
                self._ask({"probe": line}, lambda _: None)
            except WorkerLostError as error:
                name = json.loads(line)["name"]
                crashed[position] = f"expected a file that can be read, got {name}, which ends the process that reads it ({error})"
        return crashed

    def _ask(self, order: dict[str, Any], tell: Callable[[int], None]) -> dict[str, Any]:
        """Return the answer to an order.

        Raises:
            WorkerLostError: the process has ended.
            MienError: the error that the worker raised.
        """
        for attempt in range(1, PATIENCE + 1):
            try:
                if self._process is None:
                    self._start()
                break
            except WorkerLostError as error:
                if attempt == PATIENCE:
                    raise JobError(f"a worker process does not start ({error}); see whether `mien analyze` works here") from None
        self._send(order)
        while "progress" in (answer := self._receive(self._stalled_after_s)):
            tell(int(answer["progress"]))
        return answer

    def _start(self) -> None:
        with self._starting:
            if self._stopped:
                raise JobError("the job was stopped")
            self._words = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
            # A separate session: Ctrl-C on the terminal must reach only the parent process.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mien.batch.worker"],  # -P: do not import modules from the folder in which the job starts
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                bufsize=0,
                start_new_session=True,
            )
        self._received = b""
        self._send(self._settings.to_dict())
        ready = self._receive(START_WITHIN_S)["ready"]
        if ready != (expected := self._settings.identity()):
            self.close()
            differing = ", ".join(f"{key} {ready.get(key)!r}" for key, value in expected.items() if ready.get(key) != value)
            raise JobError(
                f"expected workers that have the job's model and settings, got one with {differing}; install the same on all machines"
            )

    def _send(self, order: dict[str, Any]) -> None:
        assert self._process
        assert self._process.stdin
        data = json.dumps(order).encode("ascii") + b"\n"
        try:
            while data:
                data = data[self._process.stdin.write(data) or 0 :]
        except BrokenPipeError:
            raise self._lost() from None

    def _receive(self, within_s: float) -> dict[str, Any]:
        assert self._process
        assert self._process.stdout
        while b"\n" not in self._received:
            readable, _, _ = select.select([self._process.stdout], [], [], within_s)
            if not readable:
                self._process.kill()
                raise self._lost(f"nothing for {within_s:g} s")
            if not (data := os.read(self._process.stdout.fileno(), 2**16)):
                raise self._lost()
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise KNOWN.get(answer["code"], MienError)(answer["failed"])
        return answer

    def _lost(self, why: str = "") -> WorkerLostError:
        words = self._reap()
        assert self._process is None
        return WorkerLostError("; ".join(part for part in (why, words) if part))

    def _reap(self) -> str:
        """Wait for the ended process. Return how it ended and its last output."""
        process, self._process = self._process, None
        assert process
        status = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, self._words.tell() - 2000))
        last = self._words.read().decode(errors="replace").strip().splitlines()[-1:]
        self._words.close()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        return ": ".join([how, *last])
