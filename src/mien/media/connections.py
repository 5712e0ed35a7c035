"""The connections of one download: whom they may reach, and how they are cut when its time is over."""

from __future__ import annotations

import http.client
import socket
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

from mien.media.public import connect


class Connections:
    """Makes the connections that urllib asks for, and can end them all from another thread."""

    def __init__(self, allowed: Callable[[str], bool] | None = None) -> None:
        """Connect to the IP addresses for which ``allowed`` is true and use no proxy; with None, connect as urllib does."""
        self.allowed = allowed
        self._open: list[socket.socket] = []
        self._over = False
        self._lock = Lock()

    def handlers(self) -> tuple[urllib.request.BaseHandler, ...]:
        """Return what opens http and https addresses over these connections."""
        proxy = () if self.allowed else (urllib.request.ProxyHandler(),)
        return (*proxy, _HTTPHandler(self), _HTTPSHandler(self))

    def note(self, sock: socket.socket) -> None:
        """Remember a connection; a second handle stays good when the first is wrapped for TLS.

        Raises:
            TimeoutError: it came too late.
        """
        with self._lock:
            if self._over:
                raise TimeoutError
            self._open.append(sock.dup())

    def cut(self) -> None:
        """End all connections now: whoever waits for them gets an error or the end of the data."""
        with self._lock:
            self._over = True
            for sock in self._open:
                with suppress(OSError):  # the other side was quicker
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the handles back."""
        with self._lock:
            while self._open:
                self._open.pop().close()


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_connection_class(_HTTPConnection, self._connections), request)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_connection_class(_HTTPSConnection, self._connections), request)


class _HTTPConnection(http.client.HTTPConnection):
    connections: Connections

    def connect(self) -> None:
        if allowed := self.connections.allowed:
            self.sock = connect(self.host, self.port, self.timeout, allowed)
        else:
            super().connect()
        self.connections.note(self.sock)


class _HTTPSConnection(http.client.HTTPSConnection, _HTTPConnection):
    """Its first parent's ``connect`` calls that of its second and wraps the socket."""


def _connection_class(kind: type[http.client.HTTPConnection], connections: Connections) -> type[http.client.HTTPConnection]:
    """Return a class that knows its download, which is how urllib wants to be told."""
    return type(kind.__name__, (kind,), {"connections": connections})
