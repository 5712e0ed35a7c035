"""``mien serve`` as a process: how it starts, stops, and dies."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from mien.serve.work.folders import PREFIX
from tests.media.clips import write_clip
from tests.serve.running import process


def test_it_says_where_it_is_and_warns_when_others_can_reach_it(portrait):
    with process("--max-bytes", 1000) as service:
        assert service.address.startswith("http://127.0.0.1:")
        assert httpx.post(f"{service.address}/v1/analyze", content=portrait, timeout=60).status_code == 413  # the flag is obeyed
        service.signal(signal.SIGINT)
        assert service.wait() == 0
        assert not any("others can reach it" in line for line in service.log)
        assert not any("Traceback" in line for line in service.log)
    with process("--host", "0.0.0.0") as service:
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert any("others can reach it" in line for line in service.log)


def test_a_taken_address_is_told_in_one_line():
    with process() as service:
        port = service.address.rsplit(":", 1)[1]
        second = subprocess.run([sys.executable, "-m", "mien", "serve", "--port", port], capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert "--port" in second.stderr


def test_a_model_that_is_not_there_is_told_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "mien", "serve", "--port", "0", "--model", "none"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("mien: no model called 'none'")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow  # starts the service as a process, and explains six faces
def test_stopping_lets_running_requests_end_and_refuses_new_ones(portrait):
    with process() as service:

        async def calls():
            async with httpx.AsyncClient(base_url=service.address, timeout=60) as client:
                await client.get("/healthz")  # a connection that is there already
                slow = asyncio.create_task(client.post("/v1/analyze?explain=true", files=[("file", portrait)] * 6))
                while "in_flight 2.0" not in (await client.get("/metrics")).text:
                    await asyncio.sleep(0.01)
                service.signal(signal.SIGTERM)
                refused = await client.get("/v1/models")
                while refused.status_code == 200:
                    refused = await client.get("/v1/models")
                ready = await client.get("/readyz")
                return refused, ready, await slow

        refused, ready, slow = asyncio.run(calls())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert "retry-after" in refused.headers
        assert ready.status_code == 503
        assert slow.status_code == 200
        assert all(record["faces"][0]["explanation"] for record in slow.json()["results"])
        assert service.wait() == 0


def test_after_a_kill_the_next_start_removes_what_was_left(tmp_path):
    temp = tmp_path / "tmp"
    temp.mkdir()
    clip = write_clip(tmp_path / "clip.mp4", 250)
    with process(TMPDIR=str(temp)) as service:
        answer = httpx.post(f"{service.address}/v1/video", files={"file": clip.read_bytes()}, timeout=60)
        assert answer.status_code == 202
        service.signal(signal.SIGKILL)
        service.wait()
    (left,) = temp.glob(f"{PREFIX}*")
    assert any(left.rglob("*"))
    with process(TMPDIR=str(temp)) as service:
        assert not left.exists()
        assert len(list(temp.glob(f"{PREFIX}*"))) == 1
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
    assert list(temp.glob(f"{PREFIX}*")) == []


@pytest.mark.slow  # starts the service as a process twice
def test_a_kill_under_load_loses_no_video_that_was_accepted(tmp_path, portrait):
    clip = write_clip(tmp_path / "clip.mp4", 50).read_bytes()
    keep = tmp_path / "jobs"
    accepted, answered = [], []

    async def load(address):
        async def videos(client):
            while True:
                answer = await client.post("/v1/video?every=0.5", files={"file": ("clip.mp4", clip)})
                if answer.status_code == 202:
                    accepted.append(answer.json()["links"]["self"])

        async def photos(client):
            while True:
                answer = await client.post("/v1/analyze", content=portrait)
                answered.append(answer.json())  # an answer is whole or does not come

        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            tasks = [asyncio.create_task(work(client)) for work in (videos, videos, photos, photos)]
            while len(accepted) < 4 or not answered:
                await asyncio.sleep(0.01)
            service.signal(signal.SIGKILL)
            await asyncio.gather(*tasks, return_exceptions=True)

    with process("--jobs-dir", keep, "--max-jobs", 100) as service:
        asyncio.run(load(service.address))
        service.wait()
    assert all(len(record["faces"]) == 1 for record in answered)
    with process("--jobs-dir", keep, "--max-jobs", 100) as service, httpx.Client(base_url=service.address, timeout=30) as http:
        for address in accepted:
            for _ in range(600):
                job = http.get(address).json()
                if job["state"] == "done":
                    break
                time.sleep(0.05)
            assert (job["state"], job["frames"]) == ("done", 4), job


def test_one_file_descriptor_a_connection_and_none_left(address, http, portrait):
    def open_files():
        return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))

    http.get("/healthz")
    before = open_files()
    for _ in range(20):
        with httpx.Client(base_url=address, timeout=30) as client:
            client.post("/v1/analyze", content=portrait[:2000])
    for _ in range(100):
        if open_files() <= before + 1:
            return
        time.sleep(0.05)
    raise AssertionError(f"{open_files() - before} more than before")
