"""Downloads for strangers: only public addresses are connected to, at every step of the way."""

import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mien.errors import FetchError
from mien.media.connections import Connections
from mien.media.fetch import fetch
from mien.media.public import is_public

INSIDE = {
    "loopback": "127.8.9.10",
    "private": "192.168.0.1",
    "cloud metadata": "169.254.169.254",
    "shared by a carrier": "100.64.0.1",
    "nobody": "0.0.0.0",
    "everybody": "255.255.255.255",
    "multicast": "224.0.0.251",
    "loopback, IPv6": "::1",
    "unique local": "fd00::1",
    "link local with a zone": "fe80::1%eth0",
    "IPv4 in IPv6": "::ffff:10.0.0.1",
    "6to4": "2002:7f00:1::",
    "NAT64": "64:ff9b::a9fe:a9fe",
}


@pytest.mark.parametrize("address", INSIDE.values(), ids=INSIDE)
def test_addresses_inside_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_addresses_outside_are(address):
    assert is_public(address)


@pytest.fixture
def server():
    """A server that answers /picture, and sends /elsewhere on to another name of this machine; and the paths it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(302 if self.path == "/elsewhere" else 200)
            if self.path == "/elsewhere":
                self.send_header("Location", f"http://127.0.0.2:{self.server.server_port}/secret")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    with HTTPServer(("0.0.0.0", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, asked
        server.shutdown()
        thread.join()


@pytest.fixture
def opener():
    """Reaches this machine alone."""
    connections = Connections(lambda address: address == "127.0.0.1")
    yield urllib.request.build_opener(*connections.handlers(), urllib.request.ProxyHandler({}))
    connections.close()


def test_an_allowed_address_is_read(server, opener):
    port, _ = server
    with opener.open(f"http://127.0.0.1:{port}/picture", timeout=10) as answer:
        assert answer.read() == b"ok"


def test_a_way_that_leads_inside_is_not_followed(server, opener):
    port, asked = server
    with pytest.raises(OSError, match="not public"):
        opener.open(f"http://127.0.0.1:{port}/elsewhere", timeout=10)
    assert asked == ["/elsewhere"]


def test_fetching_for_strangers_stays_outside(server):
    port, asked = server
    with pytest.raises(FetchError, match="not public"):
        fetch(f"http://localhost:{port}/picture", max_bytes=100, timeout_s=10, max_redirects=3, public_only=True)
    assert asked == []
    assert fetch(f"http://127.0.0.1:{port}/picture", max_bytes=100, timeout_s=10, max_redirects=3) == b"ok"
