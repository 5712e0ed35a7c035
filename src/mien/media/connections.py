"""The connections of one download: which addresses they may reach, and how they are closed after the time limit."""

from __future__ import annotations

import http.client
import socket
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

from mien.media.public import connect


class Connections:
    """Creates the connections for urllib. Another thread can close all of them."""

    def __init__(self, allowed: Callable[[str], bool] | None = None) -> None:
        """Connect only to IP addresses for which ``allowed`` is true, without a proxy. With None, connect as urllib does."""
        self.allowed = allowed
        self._open: list[socket.socket] = []
        self._over = False
        self._lock = Lock()

    def handlers(self) -> tuple[urllib.request.BaseHandler, ...]:
        """Return the urllib handlers that open http and https addresses over these connections."""
        proxy = () if self.allowed else (urllib.request.ProxyHandler(),)
        return (*proxy, _HTTPHandler(self), _HTTPSHandler(self))

    def note(self, sock: socket.socket) -> None:
        """Keep a second handle of a connection. It stays valid when the first one is wrapped for TLS.

        Raises:
            TimeoutError: the connections are already cut.
        """
        with self._lock:
            if self._over:
                raise TimeoutError
            self._open.append(sock.dup())

    def cut(self) -> None:
        """Shut down all connections now. A thread that waits for data gets an error or the end of the data."""
        with self._lock:
            self._over = True
            for sock in self._open:
                with suppress(OSError):  # the other side has closed it already
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the handles."""
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
    """An HTTPS connection. ``connect`` of the first parent calls ``connect`` of the second and wraps the socket."""


def _connection_class(kind: type[http.client.HTTPConnection], connections: Connections) -> type[http.client.HTTPConnection]:
    """Return a connection class that is bound to its download. urllib needs a class and not an object."""
    return type(kind.__name__, (kind,), {"connections": connections})
