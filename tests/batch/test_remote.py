"""Inputs behind addresses: S3 through its real client against a server on loopback, and http that fails as networks do."""

import contextlib
import http.server
import json
import threading
from typing import ClassVar

import boto3
import pytest
from moto.server import ThreadedMotoServer

from mien.batch import reading, remote
from mien.batch.job import read_progress
from mien.batch.listing import inputs
from mien.errors import FetchError, JobError, NotFoundError, UnreadableError, UsageError
from mien.media.images import ReadLimits
from mien.results import record_from_dict
from tests.batch.support import contents, face, run
from tests.batch.test_listing import pack_tar, pack_zip
from tests.media.clips import write_clip

BUCKET = "photos"


@pytest.fixture(scope="module")
def server():
    """A server that speaks S3 on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(server, tmp_path, monkeypatch):
    """A bucket with photos, a video and archives, and the environment in which any S3 client finds it."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    remote._driver.cache_clear()
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    photo = face(tmp_path / "a.jpg").read_bytes()
    files = {
        "in/a.jpg": photo,
        "in/deep/b.jpg": photo,
        "in/deep/bad.jpg": b"no photo",
        "in/empty.jpg": b"",
        "in/notes.md": b"text",
        "in/clip.mp4": write_clip(tmp_path / "clip.mp4", 3).read_bytes(),
        "pack.tar": pack_tar(tmp_path / "pack.tar", {"x.jpg": photo, "y.jpg": photo}).read_bytes(),
        "pack.zip": pack_zip(tmp_path / "pack.zip", {"z.jpg": photo}).read_bytes(),
        "list.csv": b"path\nin/a.jpg\nin/missing.jpg\n",
    }
    for key, data in files.items():
        client.put_object(Bucket=BUCKET, Key=key, Body=data)
    yield client
    for key in files:
        with contextlib.suppress(client.exceptions.ClientError):
            client.delete_object(Bucket=BUCKET, Key=key)
    remote._driver.cache_clear()


def records(out):
    return [record_from_dict(json.loads(line)) for part in contents(out).values() for line in part.splitlines()]


def test_a_bucket_is_a_source_like_a_folder(bucket, tmp_path):
    outcome = run(tmp_path / "out", f"s3://{BUCKET}/in", f"s3://{BUCKET}/pack.tar", f"s3://{BUCKET}/pack.zip", f"s3://{BUCKET}/list.csv")
    found = {
        (record.source.removeprefix(f"s3://{BUCKET}/"), getattr(record, "code", len(getattr(record, "faces", ()))))
        for record in records(tmp_path / "out")
    }
    assert found == {
        ("in/a.jpg", 1),
        ("in/deep/b.jpg", 1),
        ("in/deep/bad.jpg", "unsupported_media"),
        ("in/empty.jpg", "corrupt_media"),
        ("in/clip.mp4", 0),
        ("pack.tar::x.jpg", 1),
        ("pack.tar::y.jpg", 1),
        ("pack.zip::z.jpg", 1),
        ("in/missing.jpg", "not_found"),
    }
    assert (outcome.tally.frames, outcome.planned.duplicates) == (3, 1)


def test_globs_and_single_objects_and_nothing(bucket):
    assert [item.name for item in inputs([f"s3://{BUCKET}/in/*.jpg"])] == [f"s3://{BUCKET}/in/a.jpg", f"s3://{BUCKET}/in/empty.jpg"]
    assert [item.size for item in inputs([f"s3://{BUCKET}/in/deep/bad.jpg"])] == [8]
    for nothing in ("no/such/prefix", "in/*.gif"):
        with pytest.raises(UsageError):
            list(inputs([f"s3://{BUCKET}/{nothing}"]))
    with pytest.raises(UsageError):
        list(inputs(["s3://no-such-bucket/x.jpg"]))


def test_an_object_that_changed_since_it_was_listed_is_told(bucket, tmp_path):
    (item,) = inputs([f"s3://{BUCKET}/in/a.jpg"])
    bucket.put_object(Bucket=BUCKET, Key="in/a.jpg", Body=b"something else")
    (record,) = reading.Reader(ReadLimits()).photos([item])
    assert record.code == "changed"


class Moods(http.server.BaseHTTPRequestHandler):
    """Serves one photo; what else happens is in the path."""

    photo = b""
    asked: ClassVar[dict[str, int]] = {}
    silent = False

    def do_GET(self):
        times = self.asked[self.path] = self.asked.get(self.path, 0) + 1
        status = 503 if self.silent or ("twice" in self.path and times <= 2) or "never" in self.path else 200
        status = {"/gone.jpg": 404, "/secret.jpg": 403}.get(self.path, status)
        self.send_response(status)
        body = self.photo if status == 200 else b"sorry"
        self.send_header("Content-Type", "image/jpeg" if status == 200 else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  (the base class asks for it)

    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path, monkeypatch):
    """The address of a server with moods."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(reading, "FIRST_WAIT_S", 0.01)
    Moods.photo, Moods.asked, Moods.silent = face(tmp_path / "a.jpg").read_bytes(), {}, False
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moods) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_may_pass_is_tried_again_and_what_cannot_is_not(web):
    names = ["/a.jpg", "/twice.jpg", "/never.jpg", "/gone.jpg", "/secret.jpg"]
    reader = reading.Reader(ReadLimits())
    got = list(reader.photos([item for name in names for item in inputs([web + name])]))
    assert [getattr(record, "code", "photo") for record in got] == ["photo", "photo", "fetch_failed", "not_found", "fetch_failed"]
    assert Moods.asked == {"/a.jpg": 1, "/twice.jpg": 3, "/never.jpg": 3, "/gone.jpg": 1, "/secret.jpg": 1}


def test_a_lost_connection_stops_the_job_and_the_same_call_goes_on(web, tmp_path):
    (tmp_path / "list.txt").write_text("".join(f"{web}/{n:02d}.jpg\n" for n in range(24)))
    Moods.silent = True
    with pytest.raises(JobError, match="connection seems lost"):
        run(tmp_path / "out", "list.txt", shard=12)
    assert read_progress(tmp_path / "out")[1].inputs < 24
    Moods.silent = False
    outcome = run(tmp_path / "out", "list.txt", shard=12)
    assert (outcome.tally.photos, outcome.tally.errors) == (24, {})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(FileNotFoundError("x"), NotFoundError, id="missing"),
        pytest.param(PermissionError("x"), UnreadableError, id="refused"),
        pytest.param(TimeoutError("slow"), FetchError, id="timeout"),
        pytest.param(RuntimeError("An error occurred (403): Forbidden"), UnreadableError, id="driver-s-own-refusal"),
    ],
)
def test_whatever_a_driver_raises_has_a_code(error, expected):
    with pytest.raises(expected), remote.reaching("s3://bucket/x"):
        raise error
