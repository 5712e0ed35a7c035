"""Videos in the background: the queue, what is kept, and what a removal, a stop and a restart do."""

import json
import time
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest

from mien.errors import UsageError
from mien.pipeline import Pipeline
from mien.serve.metrics import Metrics
from mien.serve.settings import Settings
from mien.serve.work.jobs import Jobs
from tests.serve.held import held_pipeline
from tests.serve.running import running
from tests.serve.videos import files_below, hand_in, until
from tests.support import tiny_bundle


def test_a_video_that_is_removed_while_it_ends_leaves_nothing(pipeline, tmp_path, monkeypatch, caplog):
    """The state says "done" a moment before the record of it is on the disk."""
    ending, go_on = Event(), Event()

    write = Jobs._write

    def held(jobs, job):
        if ending.is_set():
            assert go_on.wait(60)
        write(jobs, job)

    monkeypatch.setattr(Jobs, "_write", held)
    monkeypatch.setattr("mien.serve.work.jobs.analyze_video", lambda *_, **__: ending.set())
    jobs = Jobs(pipeline, Settings(jobs_dir=tmp_path / "jobs"), Metrics())
    with jobs.new_folder() as folder:
        (folder / "upload").write_bytes(b"")
        job = jobs.accept(folder, "talk.mp4", None, annotated=False)
    while job.is_open:
        time.sleep(0.01)
    remover = Thread(target=jobs.remove, args=(job,))
    remover.start()
    remover.join(0.2)
    go_on.set()
    remover.join(60)
    jobs.close()
    assert not job.folder.exists()
    assert not caplog.records


def test_a_queue_that_is_full_says_so_and_a_waiting_video_can_be_removed(tmp_path, clip, temp_root):
    pipeline, detector = held_pipeline(tiny_bundle(tmp_path / "tiny"))
    with running(pipeline, max_jobs=2) as address, httpx.Client(base_url=address, timeout=60) as http:
        first, second = hand_in(http, clip).json(), hand_in(http, clip).json()
        assert detector.waiting.acquire(timeout=20)
        assert http.get(first["links"]["self"]).json()["state"] == "running"
        assert http.get(second["links"]["self"]).json()["state"] == "queued"
        early = http.get(first["links"]["result"])
        assert (early.status_code, early.json()["error"]["code"]) == (409, "not_ready")
        full = hand_in(http, clip)
        assert (full.status_code, "retry-after" in full.headers) == (503, True)
        assert http.delete(second["links"]["self"]).status_code == 204
        third = hand_in(http, clip)
        assert third.status_code == 202
        detector.free.set()
        assert until(http, third.json()["links"]["self"], "done")["frames"] == 12


def test_removing_a_running_video_ends_it_and_leaves_nothing(tmp_path, clip, temp_root):
    pipeline, detector = held_pipeline(tiny_bundle(tmp_path / "tiny"))
    with running(pipeline) as address, httpx.Client(base_url=address, timeout=60) as http:
        job = hand_in(http, clip, annotated="true").json()
        assert detector.waiting.acquire(timeout=20)
        detector.free.set()
        assert http.delete(job["links"]["self"]).status_code == 204
        assert files_below(temp_root) == []
        assert http.get(job["links"]["self"]).status_code == 404


def test_results_go_when_their_time_is_over_and_the_oldest_when_there_are_too_many(pipeline, clip, temp_root):
    with running(pipeline, max_kept_jobs=1, job_ttl_s=1.0) as address, httpx.Client(base_url=address, timeout=60) as http:
        jobs = [hand_in(http, clip, every="1").json() for _ in range(2)]
        until(http, jobs[1]["links"]["self"], "done")
        assert http.get(jobs[0]["links"]["self"]).status_code == 404
        for _ in range(400):  # nobody asks, and they go all the same
            if not files_below(temp_root):
                return
            time.sleep(0.05)
        raise AssertionError(files_below(temp_root))


def test_kept_videos_outlive_the_service(pipeline, clip, tmp_path):
    keep = tmp_path / "jobs"
    with running(pipeline, jobs_dir=keep) as address, httpx.Client(base_url=address, timeout=60) as http:
        job = hand_in(http, clip, every="0.2").json()
        until(http, job["links"]["self"], "done")
        result = http.get(job["links"]["result"]).text
    half_arrived, foreign = keep / ("0" * 32), keep / "holiday"
    for folder in (half_arrived, foreign):
        folder.mkdir()
    with running(pipeline, jobs_dir=keep) as address, httpx.Client(base_url=address, timeout=60) as http:
        assert http.get(job["links"]["self"]).json()["state"] == "done"
        assert http.get(job["links"]["result"]).text == result
        with pytest.raises(UsageError, match="another one"):
            Jobs(pipeline, Settings(jobs_dir=keep), Metrics())
    assert not half_arrived.exists()
    assert foreign.exists()


def test_a_kept_video_that_was_not_finished_is_done_after_the_restart(tmp_path, clip):
    keep, bundle = tmp_path / "jobs", tiny_bundle(tmp_path / "tiny")
    pipeline, detector = held_pipeline(bundle)
    with running(pipeline, jobs_dir=keep) as address, httpx.Client(base_url=address, timeout=60) as http:
        jobs = [hand_in(http, clip).json() for _ in range(2)]
        assert detector.waiting.acquire(timeout=20)
        detector.free.set()
    pipeline, detector = held_pipeline(bundle)
    detector.free.set()
    with running(pipeline, jobs_dir=keep) as address, httpx.Client(base_url=address, timeout=60) as http:
        assert [until(http, job["links"]["self"], "done", "failed")["state"] for job in jobs] == ["done", "done"]


def test_a_job_that_another_version_kept_stops_nothing_and_stays(tmp_path, clip):
    keep, bundle = tmp_path / "jobs", tiny_bundle(tmp_path / "tiny")
    with running(Pipeline(model=bundle.folder), jobs_dir=keep) as address, httpx.Client(base_url=address, timeout=60) as http:
        job = hand_in(http, clip).json()
        until(http, job["links"]["self"], "done", "failed")
    record = keep / job["id"] / "job.json"
    record.write_text('{"state": "done", "made by": "another version"}')
    with running(Pipeline(model=bundle.folder), jobs_dir=keep) as address:
        assert httpx.get(f"{address}/healthz").status_code == 200
    assert record.exists()


def test_the_record_says_done_before_the_video_goes(pipeline, clip, tmp_path, monkeypatch):
    keep = tmp_path / "jobs"

    def dies_here(path, missing_ok=False):
        raise SystemExit

    with running(pipeline, jobs_dir=keep) as address, httpx.Client(base_url=address, timeout=60) as http:
        monkeypatch.setattr(Path, "unlink", dies_here)
        job = hand_in(http, clip, every="0.2").json()
        until(http, job["links"]["self"], "done")
        for _ in range(100):
            left = json.loads((keep / job["id"] / "job.json").read_text())
            if left["state"] == "done":
                break
            time.sleep(0.05)
        monkeypatch.undo()
    assert left["state"] == "done"
