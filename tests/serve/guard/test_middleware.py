"""What stands before every request: names, keys, headers, and the bare answer to the unexpected."""

import asyncio
import logging
import socket
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from mien.pipeline import Pipeline
from mien.serve.app import create_app
from mien.serve.guard.keys import hash_of, new_key
from mien.serve.settings import Settings
from tests.media.pictures import corners
from tests.serve.running import running

PATHS = ("/", "/healthz", "/v1/models", "/docs", "/page/none.js", "/nope")


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_carries_the_headers_that_a_browser_obeys(http, path):
    headers = http.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_as_get_is_without_a_body(http, path):
    head, get = http.head(path), http.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        pytest.param(b"", b"", id="silence"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"", id="half-a-head"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /", id="half-a-second-head"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"x" * 1_000_000, id="endless-head"),
    ],
)
def test_a_connection_that_never_asks_is_let_go(address, start, rest):
    with socket.create_connection(urlsplit(address)[1].split(":")) as caller:
        caller.settimeout(20.0)  # the head has a second, uvicorn's own patience with a silent caller would be endless
        with suppress(BrokenPipeError, ConnectionResetError):
            caller.sendall(start)
            answer = b""
            while start.endswith(b"\r\n\r\n") and not answer.endswith(b"}"):  # its head and its body may come one after the other
                answer += caller.recv(10_000) or pytest.fail(f"closed after {answer!r}")
            caller.sendall(rest)
            assert (b"200 OK" in answer) == bool(answer)
            assert caller.recv(1) == b""


def test_results_are_not_kept_by_caches(http):
    assert http.get("/v1/models").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[", "", "evil.example:8000"])
def test_a_page_whose_name_was_pointed_here_learns_nothing(http, host):
    answer = http.get("/v1/models", headers={"Host": host})
    assert answer.status_code in (400, 421)
    assert "labels" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000"])
def test_this_machine_has_several_names(http, host):
    assert http.get("/v1/models", headers={"Host": host}).status_code == 200


def test_other_names_can_be_allowed(pipeline):
    with running(pipeline, allowed_hosts=("Faces.example",)) as address:
        for host in ("faces.example", "FACES.EXAMPLE"):
            assert httpx.get(f"{address}/healthz", headers={"Host": host}).status_code == 200
        assert httpx.get(f"{address}/healthz", headers={"Host": "other.example"}).status_code == 421


def test_keys_open_the_interface_and_the_metrics_only_to_those_who_have_one(pipeline):
    key, other = new_key(), new_key()
    with running(pipeline, api_keys=(hash_of(other), hash_of(key))) as address, httpx.Client(base_url=address) as http:
        for path in ("/v1/models", "/metrics", "/v1/video/x", "/v1/nope"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "key"), path
            assert answer.headers["www-authenticate"] == "Bearer"
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}, {"authorization": f"bearer  {other}"}):
            assert http.get("/v1/models", headers=headers).status_code == 200
        for wrong in (key[:-1], hash_of(key), "", "é"):
            assert http.get("/v1/models", headers={"X-API-Key": wrong.encode()}).status_code == 401
        for path in ("/", "/healthz", "/readyz", "/docs"):
            assert http.get(path).status_code != 401, path


def test_keys_lock_a_service_that_is_mounted_below_a_path(pipeline):
    app = Starlette(routes=[Mount("/behind", create_app(Settings(api_keys=(hash_of(new_key()),)), pipeline))])

    async def statuses(*paths):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            return [(await http.get(f"/behind{path}")).status_code for path in paths]

    assert asyncio.run(statuses("/v1/models", "/metrics", "/healthz")) == [401, 401, 200]


def test_other_sites_pages_cannot_send_photos_to_a_service_without_keys(http, portrait, pipeline):
    evil = {"Origin": "https://evil.example"}
    refused = http.post("/v1/analyze", content=portrait, headers=evil)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "origin")
    own = {"Origin": str(http.base_url).rstrip("/")}
    assert http.post("/v1/analyze", content=portrait, headers=own).status_code == 200
    for welcome in ("https://evil.example", "*"):
        with running(pipeline, cors_origins=(welcome,)) as address:
            assert httpx.post(f"{address}/v1/analyze", content=portrait, headers=evil).status_code == 200


def test_other_sites_may_call_only_when_that_is_set(http, pipeline):
    asks = {"Origin": "https://site.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in http.options("/v1/analyze", headers=asks).headers
    assert "access-control-allow-origin" not in http.get("/v1/models", headers=asks).headers
    with running(pipeline, cors_origins=("https://site.example",)) as address:
        assert httpx.options(f"{address}/v1/analyze", headers=asks).headers["access-control-allow-origin"] == "https://site.example"
        others = {**asks, "Origin": "https://other.example"}
        assert "access-control-allow-origin" not in httpx.options(f"{address}/v1/analyze", headers=others).headers


def test_the_unexpected_is_answered_barely_and_logged_fully(caplog):
    class Broken:
        name = "broken"

        def detect(self, frame_rgb, min_face=20):
            raise RuntimeError("the secret is in /etc/mien")

    with running(Pipeline(detector=Broken(), threads=1)) as address, caplog.at_level(logging.ERROR, "mien.serve"):
        answer = httpx.post(f"{address}/v1/analyze", content=corners("PNG"))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "nosniff" in answer.headers["x-content-type-options"]
    (record,) = [record for record in caplog.records if record.exc_info]
    assert error["id"] in record.getMessage()
    assert "the secret" in str(record.exc_info[1])


def test_the_log_has_no_addresses_that_callers_name(http, caplog):
    with caplog.at_level(logging.INFO, "mien.serve"):
        http.get("/v1/models?token=hush")
        http.get("/private-name.jpg")
    assert "hush" not in caplog.text
    assert "private-name" not in caplog.text
    assert "/v1/models 422" in caplog.text  # a key that nobody reads


def test_unknown_addresses_and_methods_are_told_in_the_same_shape(http):
    for answer, status, code in ((http.get("/nope"), 404, "not_found"), (http.get("/v1/analyze"), 405, "method")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert http.get("/v1/analyze").headers["allow"] == "POST"
