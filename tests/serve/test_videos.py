"""``/v1/video`` end to end: hand in, watch, fetch, remove; nothing of a video stays where it should not."""

import io
import json
import os
import time
from pathlib import Path
from threading import Event, Thread

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from mien.assets import demo_photo
from mien.errors import UsageError
from mien.media.video_writer import VideoWriter
from mien.pipeline import Pipeline
from mien.results import record_from_dict
from mien.serve import folders
from mien.serve.folders import PrivateFolder
from mien.serve.jobs import Jobs
from mien.serve.metrics import Metrics
from mien.serve.settings import Settings
from tests.media.clips import write_clip
from tests.serve.held import held_pipeline
from tests.serve.running import running
from tests.support import tiny_bundle


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    with Image.open(demo_photo()) as photo:
        face = np.asarray(photo.crop((120, 20, 330, 180)).convert("RGB"))
    return write_clip(tmp_path_factory.mktemp("clips") / "talk.mp4", [face] * 12, sound="aac")


@pytest.fixture
def temp_root(tmp_path, monkeypatch):
    """A folder for temporary files of this test alone."""
    root = tmp_path / "tmp"
    root.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(root))
    return root


def hand_in(http, path_or_bytes, name="talk.mp4", **query):
    data = path_or_bytes if isinstance(path_or_bytes, bytes) else path_or_bytes.read_bytes()
    return http.post("/v1/video", files={"file": (name, data, "video/mp4")}, params=query)


def until(http, address, *states):
    for _ in range(600):
        job = http.get(address).json()
        if job["state"] in states:
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.name != folders.LOCK]


def test_a_video_from_hand_in_to_removal(pipeline, clip, temp_root):
    with running(pipeline) as address, httpx.Client(base_url=address, timeout=60) as http:
        accepted = hand_in(http, clip, annotated="true")
        job = accepted.json()
        assert (accepted.status_code, accepted.headers["location"]) == (202, job["links"]["self"])
        done = until(http, job["links"]["self"], "done", "failed")
        assert (done["state"], done["progress"], done["frames"], done["error"]) == ("done", 1.0, 12, None)
        assert done["frames_per_second"] > 0

        lines = http.get(job["links"]["result"]).text.splitlines()
        records = [record_from_dict(json.loads(line)) for line in lines]
        assert [record.frame_index for record in records] == list(range(12))
        assert {record.source for record in records} == {"talk.mp4"}
        assert {record.faces[0].track_id for record in records} == {1}

        whole = http.get(job["links"]["annotated"])
        with av.open(io.BytesIO(whole.content)) as video:
            assert sum(1 for _ in video.decode(video=0)) == 12
            assert video.streams.audio
        part = http.get(job["links"]["annotated"], headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, whole.content[100:200])

        assert "upload" not in {path.name for path in files_below(temp_root)}  # the results are kept, the video is not
        assert http.delete(job["links"]["self"]).status_code == 204
        assert files_below(temp_root) == []
        for link in job["links"].values():
            assert http.get(link).status_code == 404
    assert list(temp_root.iterdir()) == []


def test_one_frame_in_so_many_seconds(http, clip):
    job = hand_in(http, clip, every="0.2").json()
    assert until(http, job["links"]["self"], "done")["frames"] == 3
    assert http.get(job["links"]["self"] + "/annotated.mp4").status_code == 404
    http.delete(job["links"]["self"])


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
NO_VIDEOS = {
    "text": (b"Dear diary", 415),
    "playlist": (PLAYLIST, 415),
    "list of files": (b"ffconcat version 1.0\nfile /etc/passwd\n", 415),
    "session description": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n", 415),
    "photo": (demo_photo().read_bytes(), 415),
    "sound": (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x44\xac\0\0\x88\x58\1\0\2\0\x10\0data\0\0\0\0", 422),
    "head only": (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", 422),
    "nothing": (b"", 415),
}


@pytest.mark.parametrize(("data", "status"), NO_VIDEOS.values(), ids=NO_VIDEOS)
def test_what_is_no_video_is_refused_at_once_and_names_no_path(http, data, status):
    answer = hand_in(http, data, name="../holiday.mp4")
    assert answer.status_code == status
    assert "/" not in answer.json()["error"]["message"].replace("(MP4, MOV", "")
    assert "upload" not in answer.text
    assert "root:" not in answer.text


def test_a_long_video_is_refused_by_what_it_says_and_by_what_it_is(pipeline, tmp_path):
    slow = write_clip(tmp_path / "slow.mkv", 3, times_s=[0, 1, 20])
    with running(pipeline, max_video_s=10) as address, httpx.Client(base_url=address, timeout=60) as http:
        answer = hand_in(http, slow)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_large_video_is_refused_while_it_arrives(pipeline, clip, temp_root):
    with running(pipeline, max_video_bytes=5_000) as address, httpx.Client(base_url=address, timeout=60) as http:
        assert hand_in(http, clip).status_code == 413
        assert files_below(temp_root) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("size", [pytest.param(100, id="less than a buffer"), pytest.param(3_000_000, id="several writes")])
def test_a_full_disk_is_said(pipeline, size, temp_root, monkeypatch):
    monkeypatch.setattr("mien.serve.videos.UPLOAD", "/dev/full")
    with running(pipeline) as address, httpx.Client(base_url=address, timeout=60) as http:
        answer = hand_in(http, b"\0" * size)
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_room")
        assert files_below(temp_root) == []


def test_a_video_that_is_removed_while_it_ends_leaves_nothing(pipeline, tmp_path, monkeypatch, caplog):
    """The state says "done" a moment before the record of it is on the disk."""
    ending, go_on = Event(), Event()

    def held(path):
        if ending.is_set():
            assert go_on.wait(60)

    monkeypatch.setattr("mien.serve.jobs._sync", held)
    monkeypatch.setattr("mien.serve.jobs.analyze_video", lambda *_, **__: ending.set())
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


def test_a_video_that_breaks_keeps_what_was_done_and_says_so(http, clip, tmp_path):
    faces = write_clip(tmp_path / "long.mkv", 60)
    data = faces.read_bytes()
    job = hand_in(http, data[: len(data) * 2 // 3], annotated="true").json()
    failed = until(http, job["links"]["self"], "failed", "done")
    assert (failed["state"], failed["error"]["code"]) == ("failed", "corrupt_media")
    assert "talk.mp4" in failed["error"]["message"]
    records = [record_from_dict(json.loads(line)) for line in http.get(job["links"]["result"]).text.splitlines()]
    assert len(records) == failed["frames"] + 1 > 1
    assert records[-1].code == "corrupt_media"
    assert http.get(job["links"]["annotated"]).status_code == 200
    http.delete(job["links"]["self"])


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


def test_the_folder_is_private_and_another_service_leaves_it_alone(tmp_path):
    with PrivateFolder(tmp_path) as mine, PrivateFolder(tmp_path) as other:
        assert mine.path.stat().st_mode & 0o777 == 0o700
        assert mine.path.is_dir()
        assert other.path != mine.path
    assert list(tmp_path.iterdir()) == []


def test_folders_without_an_owner_are_removed_at_the_next_start_and_links_are_not_followed(tmp_path):
    orphan, fresh, old = (tmp_path / f"{folders.PREFIX}{name}" for name in ("orphan", "fresh", "old"))
    for folder in (orphan, fresh, old):
        folder.mkdir()
        (folder / "upload").write_text("a face")
    (orphan / folders.LOCK).touch()
    os.utime(old, (1, 1))
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / folders.LOCK).touch()
    (tmp_path / f"{folders.PREFIX}link").symlink_to(precious)
    folders.remove_orphans(tmp_path)
    assert (orphan.exists(), fresh.exists(), old.exists(), precious.exists()) == (False, True, False, True)


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


def test_the_sound_of_strangers_comes_from_their_own_file_too(tmp_path, clip):
    (tmp_path / "own.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile own.mp4\n")
    for untrusted in (False, True):  # FFmpeg opens what the list names, unless it is told not to
        with VideoWriter(tmp_path / "out.mp4", sound_from=str(tmp_path / "list.mp4"), untrusted=untrusted) as writer:
            assert bool(writer.sound_lost) == untrusted
