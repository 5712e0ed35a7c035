"""Connections as callers hold them: each gets its answer, and none is held open for nothing."""

import asyncio
import inspect
import socket
import time
import tomllib
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from packaging.requirements import Requirement
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from mien.serve.server import _Connection
from tests.serve.running import running

PATIENCE_S = 20.0
BIG = b"Content-Length: 1000000\r\n"
# Requests that are answered before their body is there.
EARLY = {
    "healthz": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + BIG + b"\r\n", b"200"),
    "unknown": (b"POST /nope HTTP/1.1\r\nHost: localhost\r\n" + BIG + b"\r\n", b"404"),
    "too-large": (b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000001\r\n\r\n", b"413"),
    "no-photo": (b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n" + BIG + b"\r\n", b"415"),
    "other-name": (b"POST /v1/analyze HTTP/1.1\r\nHost: evil.example\r\n" + BIG + b"\r\n", b"421"),
    "chunked": (b"POST /nope HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n", b"404"),
    "whole": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200"),  # what follows are empty lines, which belong to no request
}


@contextmanager
def caller(address):
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port), timeout=PATIENCE_S) as sock:
        yield sock


def answer_of(sock):
    """Return one answer, its head and its body."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(10_000) or pytest.fail(f"closed after {answer!r}")
    head, body = answer.split(b"\r\n\r\n", 1)
    size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < size:
        body += sock.recv(10_000) or pytest.fail(f"closed after {body!r}")
    return head, body


def is_closed(sock):
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:  # bytes on their way when it was closed
        return True


@pytest.mark.parametrize("times", [pytest.param(1, id="a-byte-and-silence"), pytest.param(10_000, id="drip")])
@pytest.mark.parametrize(("request_", "status"), EARLY.values(), ids=EARLY)
def test_what_comes_after_the_answer_holds_no_connection(address, request_, status, times):
    with caller(address) as sock:
        sock.sendall(request_)
        assert status in answer_of(sock)[0].split(b"\r\n")[0]
        began = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(times):
                sock.sendall(b"\n")
                time.sleep(0.1)
                assert time.monotonic() < began + PATIENCE_S, "still open"
        assert is_closed(sock)


def test_who_still_sends_when_refused_reads_the_answer_and_goes_on(address):
    again = EARLY["whole"][0]
    with caller(address) as sock:
        sock.sendall(EARLY["no-photo"][0])
        sock.sendall(b"\0" * 500_000)
        head, body = answer_of(sock)
        assert head.startswith(b"HTTP/1.1 415")
        assert b"unsupported_media" in body
        sock.sendall(b"\0" * 500_000 + again[:-1])  # more than a head may have, in a body that nobody reads
        sock.sendall(again[-1:])
        assert answer_of(sock)[0].startswith(b"HTTP/1.1 200")
        for _ in range(2):
            time.sleep(1.2)  # more than the head's second; a silent caller is kept for five
            sock.sendall(again)
            assert answer_of(sock)[0].startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system does not let go of callers who do not read (Linux does)")
def test_who_does_not_take_the_answers_holds_no_connection(pipeline):
    with running(pipeline, max_connections=3, body_timeout_s=1.0) as address:
        where = urlsplit(address)
        held = [socket.socket() for _ in range(2)]
        for sock in held:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((where.hostname, where.port))
            sock.sendall(b"GET /docs/files/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8)  # more than the kernel keeps
            time.sleep(0.2)
        statuses = [httpx.get(f"{address}/healthz", timeout=PATIENCE_S).status_code]
        while statuses[-1] != 200 and len(statuses) < 100:
            time.sleep(PATIENCE_S / 100)
            statuses.append(httpx.get(f"{address}/healthz", timeout=PATIENCE_S).status_code)
        for sock in held:
            sock.close()
    assert (statuses[0], statuses[-1]) == (503, 200)


def test_uvicorns_protocol_has_what_the_connection_builds_on():
    """The class is not public: when this fails, read what changed in uvicorn before the cap in pyproject.toml is raised."""
    overridden = {name for name, value in vars(_Connection).items() if callable(value) and not name.startswith("_")}
    assert overridden == {
        "connection_made", "on_message_begin", "on_headers_complete", "on_response_complete", "data_received", "connection_lost"
    }  # fmt: skip
    for name in overridden:
        ours, theirs = (list(inspect.signature(getattr(kind, name)).parameters) for kind in (_Connection, HttpToolsProtocol))
        assert ours == theirs, name
    config = uvicorn.Config(lambda *_: None, log_config=None)
    config.load()
    loop = asyncio.new_event_loop()
    try:
        protocol = HttpToolsProtocol(config, ServerState(), {}, _loop=loop)
    finally:
        loop.close()
    assert {"loop", "transport", "cycle"} <= set(vars(protocol))
    assert "response_complete" in inspect.getsource(RequestResponseCycle.__init__)


def test_the_installed_uvicorn_is_one_that_the_package_asks_for():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (asked,) = (Requirement(line) for line in project["optional-dependencies"]["serve"] if line.startswith("uvicorn"))
    assert "<" in str(asked.specifier)
    assert asked.specifier.contains(version("uvicorn"))
