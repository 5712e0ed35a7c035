"""The clients against a running service: the same records as in process, and patience with a service that is full or away."""

import asyncio
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mien.client import AsyncClient, Client
from mien.client.transport import saving
from mien.errors import NotFoundError, ServiceError, UsageError
from mien.results import ErrorResult
from mien.serve.guard.keys import hash_of, new_key
from tests.media.clips import write_clip
from tests.media.pictures import corners
from tests.serve.held import held_pipeline
from tests.serve.running import running
from tests.support import tiny_bundle


@pytest.fixture
def client(address):
    with Client(address) as client:
        yield client


def test_a_photo_gives_the_record_of_the_pipeline(client, pipeline, portrait, tmp_path):
    photo = tmp_path / "me.jpg"
    photo.write_bytes(portrait)
    result = client.analyze(photo, max_faces=3)
    assert result.source == "me.jpg"
    assert result.faces == pipeline.analyze(portrait).faces


def test_many_photos_give_records_in_their_order_over_several_requests(pipeline, portrait):
    photos = [portrait if i % 10 == 0 else b"junk" if i == 5 else corners("PNG") for i in range(35)]
    with running(pipeline) as address, Client(address) as client:
        records = client.analyze_many(photos)
    assert len(records) == 35
    assert isinstance(records[5], ErrorResult)
    assert [len(record.faces) for i, record in enumerate(records) if i != 5] == [int(i % 10 == 0) for i in range(35) if i != 5]


def test_one_photo_that_is_missing_or_too_large_costs_the_others_nothing(pipeline, portrait, tmp_path):
    (tmp_path / "large.jpg").write_bytes(portrait + b"\0" * 400_000)
    photos = [portrait, tmp_path / "gone.jpg", tmp_path / "large.jpg", portrait, portrait, portrait]
    with running(pipeline, max_bytes=300_000, max_body_bytes=350_000, max_files=3) as address, Client(address) as client:
        records = client.analyze_many(photos)
    assert [record.code for record in records if isinstance(record, ErrorResult)] == ["not_found", "too_large"]
    assert [record.source for record in records[1:3]] == ["gone.jpg", "large.jpg"]
    assert [len(records[i].faces) for i in (0, 3, 4, 5)] == [1, 1, 1, 1]


def test_a_refusal_is_an_error_with_the_services_own_code(client):
    with pytest.raises(ServiceError, match="expected one of JPEG") as refused:
        client.analyze(b"junk")
    assert refused.value.reason == "unsupported_media"
    with pytest.raises(NotFoundError):
        client.analyze("nowhere.jpg")


def test_a_video_gives_its_records_and_leaves_nothing_behind(client, http, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", 25)
    seen = []
    records = client.video(clip, every_s=0.2, annotated=tmp_path / "out.mp4", on_progress=seen.append)
    assert len(records) == 5
    assert (tmp_path / "out.mp4").stat().st_size > 500
    assert seen[-1]["state"] == "done"
    assert http.get(seen[-1]["links"]["self"]).status_code == 404
    with pytest.raises(ServiceError, match="expected a video"):
        client.video(__file__)
    with pytest.raises(UsageError, match="expected a folder for the annotated copy"):
        client.video(clip, annotated=tmp_path / "missing" / "out.mp4")


def test_a_download_that_breaks_leaves_the_file_in_its_place(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"of last week")

    def breaks():
        with saving(tmp_path / "out.mp4") as out:
            out.write(b"half a vid")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        breaks()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("out.mp4", b"of last week")]
    with saving(tmp_path / "out.mp4") as out:
        out.write(b"a whole video")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("out.mp4", b"a whole video")]


def test_a_frame_that_the_caller_cannot_read_is_the_callers_error(client, tmp_path):
    with pytest.raises(FileNotFoundError):
        list(client.stream(path.read_bytes() for path in [tmp_path / "gone.jpg"]))


def test_a_stream_answers_every_frame(client, portrait):
    records = list(client.stream([portrait, b"junk", portrait], max_faces=1, smoothing_s=0.1))
    assert [type(record).__name__ for record in records] == ["FrameResult", "ErrorResult", "FrameResult"]
    assert [records[0].faces[0].track_id, records[2].faces[0].track_id] == [1, 1]


def test_the_models_are_listed(client, pipeline):
    assert client.models()[0]["name"] == pipeline.model.name


def test_the_same_with_async(address, pipeline, portrait, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", 10)

    async def frames():
        for frame in (portrait, b"junk"):
            yield frame

    async def calls():
        async with AsyncClient(address) as client:
            together = await asyncio.gather(*(client.analyze(portrait) for _ in range(4)))
            return (
                together,
                await client.analyze_many([portrait, b"junk"]),
                await client.video(clip, annotated=tmp_path / "out.mp4"),
                [record async for record in client.stream(frames())],
                await client.models(),
            )

    together, many, records, streamed, models = asyncio.run(calls())
    assert [len(result.faces) for result in together] == [1] * 4
    assert isinstance(many[1], ErrorResult)
    assert len(records) == 10
    assert (tmp_path / "out.mp4").exists()
    assert [len(streamed[0].faces), streamed[1].code] == [1, "unsupported_media"]
    assert models[0]["name"] == pipeline.model.name


def test_a_key_is_sent(pipeline, portrait):
    key = new_key()
    with running(pipeline, api_keys=(hash_of(key),)) as address:
        with Client(address, api_key=key) as client:
            assert client.analyze(portrait).faces
            assert next(iter(client.stream([portrait]))).faces
        with Client(address) as client:
            with pytest.raises(ServiceError) as refused:
                client.analyze(portrait)
            assert (refused.value.status, refused.value.reason) == (401, "key")
            with pytest.raises(ServiceError):
                list(client.stream([portrait]))


def test_a_full_service_is_asked_again_until_it_has_time(tmp_path):
    pipeline, detector = held_pipeline(tiny_bundle(tmp_path / "tiny"))
    with running(pipeline, max_in_flight=1) as address, Client(address) as client, Client(address, retries=0) as hasty:
        first = threading.Thread(target=client.analyze, args=(corners("PNG"),))
        first.start()
        assert detector.waiting.acquire(timeout=20)
        with pytest.raises(ServiceError) as refused:
            hasty.analyze(corners("PNG"))
        assert (refused.value.status, refused.value.reason) == (503, "busy")
        threading.Timer(0.5, detector.free.set).start()
        assert client.analyze(corners("PNG")).faces
        first.join()


def test_nobody_there_is_an_error_after_the_retries():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    with Client(address, retries=2) as client:
        with pytest.raises(ServiceError) as failed:
            client.analyze(b"x")
        assert (failed.value.status, failed.value.reason) == (None, "unreachable")
        assert time.monotonic() - began >= 0.1 + 0.2
        with pytest.raises(ServiceError):
            list(client.stream([b"x"]))


def test_a_service_that_is_no_mien_is_told_apart(address):
    with Client(f"{address}/page", retries=0) as client, pytest.raises(ServiceError) as failed:
        client.models()
    assert failed.value.status == 404


def test_a_redirect_is_no_record():
    class Moved(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(301)
            self.send_header("Location", "https://elsewhere.example/")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Moved) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with Client(f"http://127.0.0.1:{server.server_port}", retries=0) as client, pytest.raises(ServiceError, match="got HTTP 301"):
            client.models()
        thread.join()
