"""Jobs that are killed, starved and fed with poison still end complete."""

import contextlib
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from mien.batch.inputs import Input
from mien.batch.settings import Settings
from mien.batch.workers import Task, Worker
from mien.errors import BundleError, JobError
from mien.results import record_from_dict
from tests.batch.support import contents, finished, folder_of_faces, gone, kill, manifest_lines, run, start, wait_for, worker_pids

JOB = ("batch", "in", "-o", "out", "--shard", 4, "--format", "jsonl", "--workers", 2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder with ``in``, and ``whole``: a job over it that nobody disturbed."""
    place = tmp_path_factory.mktemp("undisturbed")
    folder_of_faces(place / "in", 39)
    with contextlib.chdir(place):
        run(place / "whole", "in", shard=4)
    return place


@pytest.fixture
def place(undisturbed, tmp_path, monkeypatch):
    """A working folder with the same ``in`` and ``whole``."""
    monkeypatch.chdir(tmp_path)
    for name in ("in", "whole"):
        (tmp_path / name).symlink_to(undisturbed / name)
    return tmp_path


def test_a_killed_driver_leaves_a_job_that_the_same_command_finishes(place):
    driver = start(*JOB, cwd=place)
    workers = wait_for(lambda: manifest_lines(place / "out") >= 2 and worker_pids(driver.pid))
    kill(driver.pid)
    finished(driver)
    wait_for(lambda: gone(workers), 30)
    assert manifest_lines(place / "out") < 10
    status, _, err = finished(start(*JOB, cwd=place))
    assert status == 0, err
    assert "40 inputs have their 40 records" in err
    assert contents(place / "out") == contents(place / "whole")


def test_killed_workers_are_replaced_and_nothing_is_lost_or_doubled(place):
    driver = start(*JOB, cwd=place)
    for shards in (1, 4):
        pids = wait_for(lambda shards=shards: manifest_lines(place / "out") >= shards and worker_pids(driver.pid))
        kill(pids[0])
    status, _, err = finished(driver)
    assert status == 0, err
    assert contents(place / "out") == contents(place / "whole")


def worker_of(parent: int) -> int:
    return wait_for(lambda: worker_pids(parent))[0]


@pytest.fixture
def task(place):
    """Three portraits and, in between, a pipe whose other end is in the test's hands."""
    os.mkfifo(place / "poison.jpg")
    names = ["in/face-000.jpg", "poison.jpg", "in/face-001.jpg", "in/face-002.jpg"]
    return Task(7, b"".join(Input(name, place=str(place / name)).to_line().encode() for name in names))


def records(part: Path):
    return [record_from_dict(json.loads(line)) for line in part.read_text().splitlines()]


def test_a_file_that_ends_every_process_that_reads_it_becomes_an_error_record(place, task):
    reads = 0

    def kill_whoever_reads():
        nonlocal reads
        while True:
            with (place / "poison.jpg").open("wb"):  # waits for a reader
                if done.is_set():
                    return
                reads += 1
                reader = worker_of(os.getpid())
                kill(reader)
                wait_for(lambda reader=reader: not Path(f"/proc/{reader}").exists())  # its pipe, too

    done = threading.Event()
    killer = threading.Thread(target=kill_whoever_reads, daemon=True)
    killer.start()
    with Worker(Settings(format="jsonl").checked()) as worker:
        finished_shard = worker.run(task, place / "part")
    done.set()
    with (place / "poison.jpg").open("rb"):
        killer.join(10)
    first, poison, *rest = records(place / "part")
    assert reads == 4, "three tries of the shard, one of the file alone"
    assert (poison.source, poison.code) == ("poison.jpg", "crashed")
    assert "SIGKILL" in poison.message
    assert all(record.faces for record in (first, *rest))
    assert finished_shard.tally.errors == {"crashed": 1}


def test_a_file_that_hangs_is_given_up(place, task):
    with Worker(Settings(format="jsonl").checked(), stalled_after_s=3) as worker:
        worker.run(task, place / "part")
    assert [getattr(record, "code", "") for record in records(place / "part")] == ["", "crashed", "", ""]
    assert "nothing for 3 s" in records(place / "part")[1].message


def test_a_worker_with_another_model_is_refused(place):
    from tests.support import tiny_bundle

    tiny_bundle(place / "bundle")
    settings = Settings(format="jsonl", model=str(place / "bundle")).checked()
    worker = Worker(settings)
    (place / "bundle" / "model.onnx").write_bytes(b"other weights")
    line = Input("a", place=str(place / "in" / "face-000.jpg")).to_line().encode()
    with worker, pytest.raises(BundleError, match="not the file"):
        worker.run(Task(0, line), place / "part")


def test_a_stopped_worker_says_so(place, task):
    worker = Worker(Settings(format="jsonl").checked())
    thread = threading.Timer(2, worker.stop)
    thread.start()
    with worker, pytest.raises(JobError):
        worker.run(task, place / "part")
    thread.join()


@contextlib.contextmanager
def disk(folder, size):
    """Mount a small disk on an empty folder for a while."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_too_small_for_the_plan_is_told(place):
    with disk(place / "small", "8k"):
        status, _, err = finished(start("batch", "in", "-o", "small/out", cwd=place))
        assert (status, "expected room for small/out" in err, "Traceback" in err) == (1, True, False), err
        assert not (place / "small" / "out").exists()


def test_what_nobody_foresaw_is_told_in_its_own_words(place, task, monkeypatch):
    (place / "sitecustomize.py").write_text("import json\njson.JSONDecoder.decode = None\n", encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(place))
    with (
        Worker(Settings(format="jsonl").checked()) as worker,
        pytest.raises(JobError, match="TypeError: 'NoneType' object is not callable"),
    ):
        worker.run(task, place / "part")


def test_a_full_disk_stops_the_job_and_room_lets_it_finish(place):
    small = place / "small"
    with disk(small, "48k"):
        command = ("batch", "in", "-o", "small/out", "--shard", 4, "--format", "jsonl", "--workers", 1)
        status, _, err = finished(start(*command, cwd=place))
        assert status == 1
        assert "run the same command again" in err
        assert "Traceback" not in err
        assert 0 < manifest_lines(small / "out") < 10
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        status, _, err = finished(start(*command, cwd=place))
        assert status == 0, err
        assert contents(small / "out") == contents(place / "whole")
