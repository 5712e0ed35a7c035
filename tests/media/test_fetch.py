from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest

from mien.errors import CorruptMediaError, FetchError, MediaError, NotFoundError, TooLargeError, UnsupportedMediaError
from mien.media.images import ReadLimits, read_photo
from tests.media.pictures import CORNERS

LIMITS = ReadLimits(max_bytes=1_000_000, timeout_s=5, max_redirects=3)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the machine is set to use cannot reach this test's server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("picture.png", id="plain"),
        pytest.param("untyped", id="a type that says nothing"),
        pytest.param("no-length", id="no Content-Length"),
        pytest.param("hops/2", id="as many redirects as allowed"),
        pytest.param("with-space/a bé.png?size= big", id="space and accent in the address"),
        pytest.param("with-space/a%20b%C3%A9.png?size=%20big", id="an address that is escaped already"),
    ],
)
def test_a_picture_is_fetched(server: str, path: str) -> None:
    assert np.array_equal(read_photo(f"{server}/{path}", limits=LIMITS).frame_rgb, CORNERS)


def test_the_scheme_may_be_in_capitals(server: str) -> None:
    assert np.array_equal(read_photo(f"{server.replace('http', 'HTTP')}/picture.png", limits=LIMITS).frame_rgb, CORNERS)


BAD_ANSWERS = {  # reason: (path, error, words the message must hold)
    "missing": ("status/404", NotFoundError, "HTTP 404"),
    "gone": ("status/410", NotFoundError, "HTTP 410"),
    "forbidden": ("status/403", FetchError, "HTTP 403 (Forbidden)"),
    "broken server": ("status/500", FetchError, "HTTP 500"),
    "redirects forever": ("loop", FetchError, "3 redirects"),
    "one redirect too many": ("hops/3", FetchError, "3 redirects"),
    "redirect to a file of this machine": ("to-file", FetchError, "http(s)"),
    "redirect to ftp": ("to-ftp", FetchError, "ftp"),
    "web page": ("page", UnsupportedMediaError, "text/html"),
    "text that claims to be PNG": ("text", UnsupportedMediaError, "no picture"),
    "empty answer": ("nothing", CorruptMediaError, "0 bytes"),
    "connection closed early": ("cut", FetchError, "got 50"),
    "announces too much": ("says-huge", TooLargeError, "1,000,000,000,000"),
    "sends too much": ("endless", TooLargeError, "1,000,000 bytes"),
    "speaks another protocol": ("not-http", FetchError, "220 ready"),
}


@pytest.mark.parametrize(("path", "error", "words"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_answer_says_so(server: str, path: str, error: type[MediaError], words: str) -> None:
    with pytest.raises(error) as caught:
        read_photo(f"{server}/{path}", limits=LIMITS)
    assert words in str(caught.value)
    assert f"{server}/{path}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["silent", "slow-body", "slow-headers"])
def test_the_whole_download_has_one_deadline(server: str, path: str) -> None:
    """Each piece of a dripping answer comes in time; only their sum does not."""
    start = time.monotonic()
    with pytest.raises(FetchError, match=r"within 0\.3 s"):
        read_photo(f"{server}/{path}", limits=ReadLimits(timeout_s=0.3))
    assert time.monotonic() - start < 2
    for thread in (thread for thread in threading.enumerate() if thread.name == "mien-fetch"):
        thread.join(2)
        assert not thread.is_alive(), "the download's thread waits on"


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("http://", id="no host"),
        pytest.param("http://127.0.0.1:port/a.jpg", id="port in letters"),
        pytest.param("http://[::1/a.jpg", id="half an IPv6 address"),
        pytest.param("http://nowhere.invalid/a.jpg", id="unknown host"),
    ],
)
def test_an_address_that_leads_nowhere(address: str) -> None:
    with pytest.raises(FetchError) as caught:
        read_photo(address, limits=LIMITS)
    assert address in str(caught.value)


def test_a_closed_port_says_refused() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(FetchError, match="refused"):
        read_photo(f"http://127.0.0.1:{port}/a.jpg", limits=LIMITS)


@pytest.mark.parametrize(
    ("path", "login"),
    [
        pytest.param("locked", "ann:s%40fe%2Fty", id="at once"),
        pytest.param("to-locked", "ann:s%40fe%2Fty", id="after a redirect to the same server"),
        pytest.param("to-locked-with-login", "", id="a redirect with a login of its own"),
    ],
)
def test_a_login_in_the_address_is_used(server: str, path: str, login: str) -> None:
    address = server.replace("http://", f"http://{login}@") if login else server
    assert np.array_equal(read_photo(f"{address}/{path}", limits=LIMITS).frame_rgb, CORNERS)


def test_a_login_stays_with_its_server(server: str) -> None:
    """The same machine by another name is another server."""
    with pytest.raises(FetchError, match="HTTP 401"):
        read_photo(f"{server.replace('http://', 'http://ann:s%40fe%2Fty@')}/to-locked-elsewhere", limits=LIMITS)


@pytest.mark.parametrize(
    "path", ["locked", "status/404", "status/500", "page", "cut", "says-huge", "endless", "loop", "not-http", "text", "nothing"]
)
def test_a_password_is_in_no_message(server: str, path: str) -> None:
    with pytest.raises(MediaError) as caught:
        read_photo(f"{server.replace('http://', 'http://bob:hunter2@')}/{path}", limits=LIMITS)
    assert "hunter2" not in str(caught.value)
    assert "http://***@127.0.0.1" in str(caught.value)


def test_a_wrong_login_is_told_how_to_give_one(server: str) -> None:
    with pytest.raises(FetchError, match="put USER:PASSWORD@ before the host"):
        read_photo(f"{server}/locked", limits=LIMITS)
