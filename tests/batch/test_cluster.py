"""The Ray engine: the same bytes as here, also when a node dies in the middle."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from mien.batch.cluster import RayEngine
from mien.batch.job import run_job
from mien.batch.settings import Settings
from mien.errors import JobError, UsageError
from tests.batch.support import contents, finished, folder_of_faces, kill, manifest_lines, run, start, wait_for

# The nodes of the test know each other by a token of its own, which Ray asks for from other addresses.
NODES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with ``in``, and ``whole``: a job over it by the local engine."""
    place = tmp_path_factory.mktemp("cluster")
    folder_of_faces(place / "in", 71)
    with contextlib.chdir(place):
        run(place / "whole", "in", shard=4)
    return place


@pytest.mark.slow  # a Ray cluster takes ten seconds to start and stop
def test_ray_on_this_machine_gives_the_same_bytes(place, monkeypatch):
    monkeypatch.chdir(place)
    status, _, err = finished(start("batch", "in", "-o", "ray", "--engine", "ray", "--shard", 4, "--format", "jsonl", cwd=place))
    assert status == 0, err
    assert "72 inputs have their 72 records" in err
    assert contents(place / "ray") == contents(place / "whole")


def test_a_cluster_that_is_not_there_is_told(place, monkeypatch):
    monkeypatch.chdir(place)
    with pytest.raises(JobError, match=r"Ray cluster at 127\.0\.0\.1:1"):
        run_job(place / "none", ["in"], Settings(shard=4).checked(), RayEngine("127.0.0.1:1"))


def test_a_pool_of_nobody_is_a_wrong_call():
    with pytest.raises(UsageError):
        RayEngine(workers=0)


@pytest.fixture
def two_rooms():
    """Two network namespaces joined by a cable, out of which nothing leads: (name, address) of each."""
    if shutil.which("ip") is None:
        pytest.skip("the command ip (iproute2) is not installed")
    tag = uuid.uuid4().hex[:6]
    rooms = [(f"mien{side}{tag}", f"10.213.7.{number}") for side, number in (("a", 1), ("b", 2))]
    made = []
    try:
        for name, _ in rooms:
            if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
                pytest.skip("making network namespaces is not permitted here")
            made.append(name)
        cable = [f"v{side}{tag}" for side in "ab"]
        steps = [["ip", "link", "add", cable[0], "type", "veth", "peer", "name", cable[1]]]
        for (name, address), end in zip(rooms, cable, strict=True):
            steps += [
                ["ip", "link", "set", end, "netns", name],
                ["ip", "-n", name, "addr", "add", f"{address}/24", "dev", end],
                ["ip", "-n", name, "link", "set", end, "up"],
                ["ip", "-n", name, "link", "set", "lo", "up"],
            ]
        for step in steps:
            subprocess.run(step, check=True, capture_output=True)
        yield rooms
    finally:
        for name in made:
            for pid in pids_in(name):
                with contextlib.suppress(ProcessLookupError):
                    kill(pid)
            subprocess.run(["ip", "netns", "delete", name], check=True)


def pids_in(room):
    listed = subprocess.run(["ip", "netns", "pids", room], capture_output=True, text=True, check=True)
    return [int(pid) for pid in listed.stdout.split()]


def ray_node(room, address, *arguments, temp):
    """Start a Ray node in a namespace, with one core and a small object store."""
    command = [
        *(
            "ip",
            "netns",
            "exec",
            room,
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--num-cpus=1",
            "--object-store-memory=100000000",
        ),
        *(f"--node-ip-address={address}", "--disable-usage-stats", *arguments),
    ]
    env = os.environ | NODES | {"TMPDIR": str(temp), "RAY_TMPDIR": str(temp)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=180)


@pytest.mark.slow  # two Ray nodes and a job of half a minute
def test_a_node_that_dies_in_the_middle_takes_nothing_with_it(place, two_rooms, tmp_path_factory):
    (head, address), (other, other_address) = two_rooms
    temp = tmp_path_factory.mktemp("r", numbered=False)  # short: Ray's sockets have paths of at most 107 characters
    for attempt in (ray_node(head, address, "--head", "--port=6379", f"--temp-dir={temp}", temp=temp),
                    ray_node(other, other_address, f"--address={address}:6379", temp=temp)):  # fmt: skip
        assert attempt.returncode == 0, attempt.stdout + attempt.stderr
    command = [
        *("ip", "netns", "exec", head, sys.executable, "-m", "mien", "batch", "in", "-o", "two", "--shard", "4", "--format", "jsonl"),
        *("--engine", "ray", "--address", f"{address}:6379"),
    ]
    driver = subprocess.Popen(command, cwd=place, env=os.environ | NODES, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    (first, *_) = wait_for(lambda: workers_in(head) + workers_in(other), 240)
    os.kill(first, signal.SIGSTOP)  # it keeps its shard, so that the pool grows to the other node and the job is not over too soon
    wait_for(lambda: workers_in(head) and workers_in(other), 240)
    wait_for(lambda: manifest_lines(place / "two") >= 3, 240)
    for pid in pids_in(other):
        with contextlib.suppress(ProcessLookupError):
            kill(pid)
    noted = manifest_lines(place / "two")
    with contextlib.suppress(ProcessLookupError):
        os.kill(first, signal.SIGCONT)
    status, _, err = finished(driver)
    assert status == 0, err
    assert noted < 18, "the node died before the job was done"
    assert "72 inputs have their 72 records" in err
    assert contents(place / "two") == contents(place / "whole")


def workers_in(room):
    return [pid for pid in pids_in(room) if b"mien.batch.worker" in command_of(pid)]


def command_of(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
