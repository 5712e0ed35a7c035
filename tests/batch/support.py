"""Small real jobs: pictures with and without a face, and ways to run them, look into them and end them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pyarrow import parquet

from mien.assets import demo_photo
from mien.batch.job import Outcome, run_job
from mien.batch.local import LocalEngine
from mien.batch.settings import Settings

SMALL = 96  # px; a face that is found in some milliseconds


def face(path: Path, seed: int = 0) -> Path:
    """Write a small portrait; another seed gives other pixels."""
    with Image.open(demo_photo()) as photo:
        small = photo.crop((100, 0, 356, 256)).resize((SMALL, SMALL))
    pixels = np.asarray(small, np.int16) + np.random.default_rng(seed).integers(-8, 9, (SMALL, SMALL, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def folder_of_faces(path: Path, count: int, broken: int = 1) -> Path:
    """Write ``count`` portraits and ``broken`` files that are none, and return the folder."""
    one = face(path / "face-000.jpg")
    for number in range(1, count):
        shutil.copy(one, path / f"face-{number:03d}.jpg")
    for number in range(broken):
        (path / f"broken-{number:03d}.jpg").write_bytes(b"words, not pixels")
    return path


def run(
    out: Path, *sources: Path | str, workers: int = 1, column: str | None = None, retry_errors: bool = False, **settings: Any
) -> Outcome:
    """Run a job in this process with worker processes of its own."""
    checked = Settings(**{"shard": 8, "format": "jsonl", **settings}).checked()
    return run_job(out, [str(source) for source in sources], checked, LocalEngine(workers), column=column, retry_errors=retry_errors)


def contents(out: Path) -> dict[str, bytes]:
    """Return name -> bytes of a job's parts."""
    return {part.name: part.read_bytes() for part in sorted((out / "records").iterdir())}


def rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of a job's Parquet parts."""
    return [row for part in sorted((out / "records").iterdir()) for row in parquet.read_table(part).to_pylist()]


def start(*arguments: object, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start the command ``mien`` and return its process."""
    command = [sys.executable, "-m", "mien", *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finished(process: subprocess.Popen[bytes], timeout_s: float = 300) -> tuple[int, str, str]:
    """Wait for a process and return (status, stdout, stderr)."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out.decode(), err.decode()


def worker_pids(driver: int) -> list[int]:
    """Return the worker processes of a driver."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue  # it has just ended
        if parent == driver and b"mien.batch.worker" in command:
            found.append(int(status.parent.name))
    return sorted(found)


def kill(pid: int) -> None:
    """End a process as a power cut would."""
    os.kill(pid, signal.SIGKILL)


def wait_for(happened: Callable[[], Any], timeout_s: float = 120) -> Any:
    """Return the first true answer of ``happened``."""
    deadline = time.monotonic() + timeout_s
    while not (answer := happened()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


def manifest_lines(out: Path) -> int:
    """Return how many shards a job has noted."""
    try:
        return (out / "manifest.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def gone(pids: Iterable[int]) -> bool:
    """Return whether no such process runs any more; one that waits to be collected does not run."""
    return not any(_state(pid) not in ("", "Z", "X") for pid in pids)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
