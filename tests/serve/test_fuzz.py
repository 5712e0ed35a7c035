"""Strangers' input: nothing may crash the service or be answered with its fault (5xx)."""

import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks import malformed
from tests.serve.running import running

PICTURES = 210  # ten of each kind; python -m benchmarks.serve --soak sends thousands


@pytest.fixture(scope="module")
def strict(pipeline):
    """A service that gives nobody much time."""
    with running(pipeline, body_timeout_s=2.0, max_bytes=2_000_000, max_body_bytes=2_000_000) as address:
        yield address


@pytest.mark.slow  # 210 uploads, ten of them pictures of 30 megapixels
def test_malformed_uploads_are_refused_or_answered_and_the_service_goes_on(strict, http, portrait):
    with ThreadPoolExecutor(8) as pool:
        requests = [malformed.one(number) for number in range(PICTURES)]
        statuses = list(pool.map(lambda request: malformed.send(strict, *request), requests))
    by_kind = {(kind, status) for (kind, _), status in zip(requests, statuses, strict=True)}
    assert {(kind, status) for kind, status in by_kind if status >= 500} == set()
    assert Counter(kind for kind, _ in requests) == dict.fromkeys(malformed.KINDS, 10)
    for kind in ("huge size", "zip", "svg", "form cut short", "odd fields", "no video"):
        assert {status for other, status in by_kind if other == kind} <= {413, 415, 422}, kind
    assert http.post(f"{strict}/v1/analyze", content=portrait).json()["faces"]
    metrics = http.get(f"{strict}/metrics").text
    assert not re.search(r'status="5\d\d"', metrics)


@pytest.mark.slow  # starts schemathesis, which sends a few hundred requests
def test_every_route_keeps_its_own_description(strict, http, tmp_path):
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"
    options = ["--checks", checks, "--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "1"]
    options += ["--suppress-health-check", "all", "--no-color"]
    command = [Path(sys.executable).with_name("schemathesis"), "run", f"{strict}/openapi.json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:]
    routes = sum(len(methods) for methods in http.get(f"{strict}/openapi.json").json()["paths"].values())
    assert f"Tested: {routes}" in done.stdout


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.one_of(st.text(), st.binary(), st.just('{"max_faces": 1}')), then=st.lists(st.one_of(st.text(), st.binary()), max_size=3))
def test_any_message_on_a_live_socket_is_answered_or_ends_it(strict, first, then):
    code = None
    with connect(strict.replace("http", "ws") + "/v1/stream") as socket:
        try:
            for message in (first, *then):
                socket.send(message)
            socket.recv(timeout=0.05)
        except TimeoutError:
            pass
        except ConnectionClosed as closed:
            code = closed.rcvd and closed.rcvd.code
    assert code != 1011  # the code of a fault


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=2000), boundary=st.binary(max_size=80), headers=st.binary(max_size=200))
def test_any_form_is_refused_or_read(strict, http, body, boundary, headers):
    content = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="file"\r\n' + headers + b"\r\n\r\n" + body
    answer = http.post(
        f"{strict}/v1/analyze", content=content, headers={"Content-Type": b"multipart/form-data; boundary=" + boundary.hex().encode()}
    )
    assert answer.status_code < 500
