"""``/v1/video`` end to end: hand in, watch, fetch, remove; nothing of a video stays where it should not."""

import io
import json
from pathlib import Path

import av
import httpx
import pytest

from mien.assets import demo_photo
from mien.results import record_from_dict
from tests.media.clips import write_clip
from tests.serve.running import running
from tests.serve.videos import files_below, hand_in, until


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
    monkeypatch.setattr("mien.serve.routes.videos.UPLOAD", "/dev/full")
    with running(pipeline) as address, httpx.Client(base_url=address, timeout=60) as http:
        answer = hand_in(http, b"\0" * size)
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_room")
        assert files_below(temp_root) == []


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
