"""``WS /v1/stream`` with a real client: the newest frame counts, and everything that goes wrong is told."""

import json
import time
from contextlib import ExitStack, suppress

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mien.results import FrameResult
from mien.serve.guard.keys import hash_of, new_key
from tests.media.pictures import corners, png_of_size
from tests.serve.held import held_pipeline
from tests.serve.running import running
from tests.support import tiny_bundle


def live(address, **options):
    return connect(address.replace("http", "ws") + "/v1/stream", compression=None, **options)


def told(socket):
    return json.loads(socket.recv(timeout=30))


def end(socket):
    """Return the error that was told last, and the close code."""
    error = None
    try:
        while True:
            error = told(socket).get("error", error)
    except ConnectionClosed as closed:
        return error, closed.rcvd.code


@pytest.fixture
def tiny(tmp_path):
    return tiny_bundle(tmp_path / "tiny")


def test_each_frame_is_answered_with_ids_and_smoothed_probabilities(address, portrait):
    with live(address) as socket:
        results = []
        for _ in range(3):
            socket.send(portrait)
            results.append(told(socket))
    assert [result["type"] for result in results] == ["result"] * 3
    assert [result["sequence"] for result in results] == [0, 1, 2]
    assert {result["faces"][0]["track_id"] for result in results} == {1}
    assert all(sum(result["faces"][0]["smoothed"].values()) == pytest.approx(1) for result in results)
    times = [FrameResult.from_dict(result).time_s for result in results]
    assert 0 <= times[0] < times[1] < times[2]


def test_the_newest_frame_counts_and_the_sender_learns_what_was_dropped(tiny):
    pipeline, detector = held_pipeline(tiny)
    with running(pipeline) as address, live(address) as socket:
        socket.send(corners("PNG"))
        assert detector.waiting.acquire(timeout=20)  # the first frame is being analysed
        for _ in range(9):
            socket.send(corners("PNG"))
        busy = told(socket)
        assert (busy["type"], busy["dropped"] >= 1) == ("busy", True)
        time.sleep(0.5)
        detector.free.set()
        results = []
        while len(results) < 2:
            message = told(socket)
            results += [message] if message["type"] == "result" else []
    assert [result["sequence"] for result in results] == [0, 9]
    assert results[1]["dropped"] == 8


def test_busy_is_said_at_most_once_a_second(tiny):
    pipeline, detector = held_pipeline(tiny)
    with running(pipeline) as address, live(address) as socket:
        for _ in range(60):
            socket.send(corners("PNG"))
            time.sleep(0.01)
        detector.free.set()
        messages = []
        while not messages or messages[-1].get("sequence") != 59:
            messages.append(told(socket))
    assert 1 <= sum(message["type"] == "busy" for message in messages) <= 2


def test_a_broken_frame_is_told_and_the_next_one_is_answered(address, portrait):
    with live(address) as socket:
        socket.send(b"junk")
        broken = told(socket)
        socket.send(png_of_size(30_000, 30_000))
        bomb = told(socket)
        socket.send(portrait)
        result = told(socket)
    assert (broken["type"], broken["sequence"], broken["error"]["code"]) == ("error", 0, "unsupported_media")
    assert (bomb["sequence"], bomb["error"]["code"]) == (1, "too_large")
    assert (result["type"], result["sequence"]) == ("result", 2)


def test_options_come_first_and_are_obeyed(tiny):
    pipeline, detector = held_pipeline(tiny, faces=3)
    detector.free.set()
    with running(pipeline) as address, live(address) as socket:
        socket.send('{"max_faces": 2, "smoothing_s": 0.5}')
        socket.send(corners("PNG"))
        assert len(told(socket)["faces"]) == 2
        socket.send('{"max_faces": 1}')
        error, code = end(socket)
    assert (error["code"], code) == ("usage", 1008)


@pytest.mark.parametrize("first", ["nonsense", "[]", '{"max_faces": 0}', '{"smoothing_s": 1e999}', '{"other": 1}', "\x00", "9" * 5000])
def test_wrong_options_end_the_stream_with_a_sentence(address, first):
    with live(address) as socket:
        socket.send(first)
        error, code = end(socket)
    assert (error["code"], code) == ("usage", 1008)
    assert "expected" in error["message"]


def test_a_frame_over_the_limit_ends_the_stream(pipeline):
    with running(pipeline, max_frame_bytes=10_000) as address, live(address) as socket:
        socket.send(b"\xff\xd8\xff" + b"\0" * 10_001)
        _, code = end(socket)
    assert code == 1009


def test_a_silent_socket_is_closed(pipeline, portrait):
    with running(pipeline, stream_idle_s=0.3) as address, live(address) as socket:
        socket.send(portrait)
        error, code = end(socket)
    assert (error["code"], code) == ("idle", 1008)


def test_callers_without_a_key_take_no_place(pipeline, portrait):
    key = new_key()
    with running(pipeline, max_streams=1, api_keys=(hash_of(key),)) as address, live(address), live(address), live(address) as socket:
        socket.send(json.dumps({"key": key}))
        socket.send(portrait)
        assert told(socket)["type"] == "result"


def test_only_so_many_sockets_are_served_and_a_place_becomes_free(pipeline, portrait):
    with running(pipeline, max_streams=1) as address:
        with live(address) as first:
            first.send(portrait)
            told(first)
            with live(address) as second:
                error, code = end(second)
            assert (error["code"], code) == ("busy", 1013)
        for _ in range(50):
            # A socket without a place is closed, at times before the photo is on its way.
            with suppress(ConnectionClosed), live(address) as third:
                third.send(portrait)
                if told(third)["type"] == "result":
                    return
            time.sleep(0.1)
    raise AssertionError("the place did not become free")


def test_pages_of_other_sites_cannot_open_it(address):
    with pytest.raises(InvalidStatus) as refused, live(address, origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    with live(address, origin=address):
        pass


def test_a_key_comes_with_the_headers_or_first(pipeline, portrait):
    key = new_key()
    with running(pipeline, api_keys=(hash_of(key),)) as address:
        for first in (portrait, '{"key": "guess"}'):
            with live(address) as socket:
                socket.send(first)
                error, code = end(socket)
            assert (error["code"], code) == ("key", 1008)
        with live(address) as socket:
            socket.send(json.dumps({"key": key}))
            socket.send(portrait)
            assert told(socket)["type"] == "result"
        with live(address, additional_headers={"Authorization": f"Bearer {key}"}) as socket:
            socket.send(portrait)
            assert told(socket)["type"] == "result"


def test_stopping_tells_those_who_watch(pipeline, portrait):
    with ExitStack() as stack:
        with running(pipeline) as address:
            socket = stack.enter_context(live(address))
            socket.send(portrait)
            told(socket)
        assert end(socket)[1] == 1012
