"""Videos that are analysed in the background: the queue, the running jobs, and how long finished jobs are kept."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any, Literal
from uuid import uuid4

from mien.atomic import atomic_write, sync
from mien.errors import MediaError, UsageError
from mien.pipeline import Pipeline
from mien.serve.metrics import Metrics
from mien.serve.refusals import busy
from mien.serve.settings import Settings
from mien.serve.work.folders import PrivateFolder, locked
from mien.serve.work.uploaded_video import Progress, Stopped, analyze_video

JOB_ID = re.compile("[0-9a-f]{32}")  # other folders in jobs_dir do not belong to the service
log = logging.getLogger("mien.serve")
State = Literal["queued", "running", "done", "failed", "cancelled"]
UPLOAD, RESULT, ANNOTATED, RECORD = "upload", "result.ndjson", "annotated.mp4", "job.json"


@dataclass(frozen=True)
class Order:
    """The request of a caller. It is stored beside the video, so that a restart can continue the job."""

    id: str
    name: str
    every_s: float | None
    annotated: bool


@dataclass
class Job:
    """One video: the order, the folder, and the progress."""

    order: Order
    folder: Path
    state: State = "queued"
    error: dict[str, str] | None = None
    ended: float | None = None  # seconds since the epoch
    progress: Progress = field(default_factory=Progress)
    cancelled: Event = field(default_factory=Event)
    idle: Event = field(default_factory=Event)  # set while no thread works on it

    def __post_init__(self) -> None:
        self.idle.set()

    @property
    def is_open(self) -> bool:
        """Whether the job still waits or runs."""
        return self.state in ("queued", "running")

    def file(self, name: str) -> Path:
        """Return the path of one of the job's files."""
        return self.folder / name

    def to_dict(self) -> dict[str, Any]:
        """Return the state of the job as the service sends it."""
        address = f"/v1/video/{self.order.id}"
        links = {"self": address, "result": f"{address}/result"}
        if self.order.annotated:
            links["annotated"] = f"{address}/annotated.mp4"
        return {
            "id": self.order.id,
            "state": self.state,
            "progress": 1.0 if self.state == "done" else self.progress.share,
            "frames": self.progress.frames,
            "frames_per_second": self.progress.frames_per_second,
            "error": self.error,
            "links": links,
        }


class Jobs:
    """The videos of one service.

    Without ``jobs_dir``, all files are in a private folder that is removed when the service ends. With ``jobs_dir``, an accepted video is
    finished after a restart, even if the process was killed, and results stay until ``job_ttl_s`` is over.
    """

    def __init__(self, pipeline: Pipeline, settings: Settings, metrics: Metrics) -> None:
        """Continue with the jobs that an earlier run left in ``jobs_dir``.

        Raises:
            UsageError: another service uses this folder.
        """
        self._pipeline, self._settings, self._metrics = pipeline, settings, metrics
        self._private = None if settings.jobs_dir else PrivateFolder()
        self._root = self._private.path if self._private else _made(settings.jobs_dir)
        self._claim = None if self._private else _claimed(self._root)
        self._lock = Lock()
        self._jobs: dict[str, Job] = {}
        self._arriving = 0
        self._stopping = Event()
        self._threads = ThreadPoolExecutor(settings.video_workers, thread_name_prefix="mien-video")
        if not self._private:
            self._take_up()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the queue while a video arrives.

        Raises:
            Refusal: the queue is full.
        """
        with self._lock:
            if sum(job.is_open for job in self._jobs.values()) + self._arriving >= self._settings.max_jobs:
                raise busy(f"{self._settings.max_jobs} videos are waiting or running")
            self._arriving += 1
        try:
            yield
        finally:
            with self._lock:
                self._arriving -= 1

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """Create the folder of an arriving video; it is removed at the end unless :meth:`accept` was called with it."""
        folder = self._root / uuid4().hex
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            if folder.name not in self._jobs:
                shutil.rmtree(folder, ignore_errors=True)

    def accept(self, folder: Path, name: str, every_s: float | None, annotated: bool) -> Job:
        """Queue the video in ``folder``. With ``jobs_dir``, the job survives a crash from here on."""
        job = Job(Order(folder.name, name, every_s, annotated), folder)
        if not self._private:
            sync(job.file(UPLOAD))
        self._write(job)
        with self._lock:
            self._jobs[job.order.id] = job
        self._threads.submit(self._run, job)
        return job

    def get(self, job_id: str) -> Job | None:
        """Return a job; None if it is unknown or no longer kept."""
        self.sweep()
        return self._jobs.get(job_id)

    def remove(self, job: Job) -> None:
        """Cancel a job, wait until its current frame is done, and remove all its files."""
        job.cancelled.set()
        with self._lock:
            self._jobs.pop(job.order.id, None)
        job.idle.wait()
        shutil.rmtree(job.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove the finished jobs that are too old, and the oldest ones if there are too many."""
        with self._lock:
            ended = sorted((job for job in self._jobs.values() if not job.is_open and job.idle.is_set()), key=lambda job: job.ended or 0)
        too_many = len(ended) - self._settings.max_kept_jobs
        for number, job in enumerate(ended):
            if number < too_many or time.time() - (job.ended or 0) > self._settings.job_ttl_s:
                self.remove(job)

    def stop(self) -> None:
        """Stop all videos after their current frame; with ``jobs_dir``, the next start continues them."""
        self._stopping.set()
        for job in tuple(self._jobs.values()):
            job.cancelled.set()

    def close(self) -> None:
        """Stop, wait for the threads, and remove the private folder."""
        self.stop()
        self._threads.shutdown(cancel_futures=True)
        if self._private:
            self._private.close()
        if self._claim is not None:
            os.close(self._claim)

    def _run(self, job: Job) -> None:
        with self._lock:
            if job.cancelled.is_set():
                return
            job.state = "running"
            job.idle.clear()
        try:
            analyze_video(
                self._pipeline,
                job.file(UPLOAD),
                job.file(RESULT),
                job.file(ANNOTATED) if job.order.annotated else None,
                name=job.order.name,
                every_s=job.order.every_s,
                settings=self._settings,
                progress=job.progress,
                stopped=job.cancelled,
            )
            self._end(job, "done")
        except Stopped:
            self._end(job, "cancelled")
        except MediaError as error:
            self._end(job, "failed", error.code, str(error))
        except Exception:
            log.exception("video %s failed", job.order.id)
            self._end(job, "failed", "internal", "something went wrong here; quote the id to the operator")
        finally:
            job.idle.set()

    def _end(self, job: Job, state: State, code: str = "", message: str = "") -> None:
        if state == "cancelled" and self._stopping.is_set():
            return  # the record on disk still says that the job is not finished
        with self._lock:
            job.error = {"code": code, "message": message} if code else None
            job.state, job.ended = state, time.time()
        self._metrics.videos.labels(state).inc()
        self._write(job)  # before the video is removed: after a kill, a record without its video must say that the job is finished
        job.file(UPLOAD).unlink(missing_ok=True)

    def _write(self, job: Job) -> None:
        """Write the record of the job beside its video if jobs are kept; the file is either complete or absent."""
        if self._private:
            return
        record = {"order": asdict(job.order), "state": job.state, "error": job.error, "ended": job.ended, "frames": job.progress.frames}
        with atomic_write(job.file(RECORD), durable=True) as draft:
            draft.write_text(json.dumps(record) + "\n", encoding="utf-8")
        sync(self._root)

    def _take_up(self) -> None:
        ours = (path for path in self._root.iterdir() if JOB_ID.fullmatch(path.name) and path.is_dir())
        for folder in sorted(ours, key=lambda path: path.stat().st_mtime):
            try:
                job = _read(folder)
            except (AttributeError, KeyError, TypeError) as error:
                log.warning("job %s was kept by another version and is left alone (%r)", folder.name, error)
                continue
            if job is None:
                shutil.rmtree(folder, ignore_errors=True)  # it had not arrived completely, so it was never confirmed to the caller
                continue
            self._jobs[job.order.id] = job
            if job.is_open:
                self._threads.submit(self._run, job)
            else:
                job.file(UPLOAD).unlink(missing_ok=True)


def _read(folder: Path) -> Job | None:
    """Return the job stored in a folder; an unfinished job starts again from its beginning."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    state: State = "queued" if record["state"] == "running" else record["state"]
    return Job(Order(**record["order"]), folder, state, record["error"], record["ended"], Progress(frames=record["frames"]))


def _made(folder: Path | None) -> Path:
    path = Path(folder or "")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"expected a folder for videos, {path} cannot be made ({error.strerror}); choose another --jobs-dir") from None
    return path


def _claimed(folder: Path) -> int:
    """Return a file descriptor that locks the folder for this process."""
    try:
        descriptor = locked(folder)
    except OSError as error:
        raise UsageError(f"expected a folder that can be written, {folder} cannot ({error.strerror}); choose another --jobs-dir") from None
    if descriptor is None:
        raise UsageError(f"expected a folder of this service's own, {folder} is used by another one; choose another --jobs-dir")
    return descriptor
