"""The process around the application: uvicorn, and a stop that waits for running requests."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mien.errors import UsageError
from mien.serve.guard.gate import Gate
from mien.serve.settings import Settings

MAX_HEAD_BYTES = 2**16  # bytes of the head of a request, after the first packet
MAX_TIMEOUT_MS = 2**31 - 1  # the largest value of the kernel


class _Connection(HttpToolsProtocol):
    """A connection that closes when its client is too slow.

    The head of a request must arrive within ``head_s`` seconds and :data:`MAX_HEAD_BYTES`. Data that still arrives after an answer gets
    the same time, and so does a client that stops reading its answer.
    """

    def __init__(self, *args: Any, head_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_s, self._head_bytes = head_s, 0
        self._in_head = self._answered = False
        self._timer: asyncio.TimerHandle | None = None  # runs until the next head is complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # the kernel knows how much a client reads, the transport does not
            milliseconds = int(min(max(1, 1000 * self._head_s), MAX_TIMEOUT_MS))
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._expect_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._in_head = self._answered = False
        self._stop_timer()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._answered = self.cycle.response_complete  # false if the next request is waiting already

    def data_received(self, data: bytes) -> None:
        began_earlier = self._in_head
        super().data_received(data)
        if self._in_head and began_earlier:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.close()
        elif self._answered and not self._timer:
            # The rest of a body that is not read, or empty lines. uvicorn no longer waits here, and closing at once could lose the answer.
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self._head_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None


class Server(uvicorn.Server):
    """Stops in two steps: while requests still run, new ones are refused with 503; then the process ends.

    A second signal ends the process at once.
    """

    def __init__(self, app: FastAPI, settings: Settings, on_start: Callable[[], None] = lambda: None) -> None:
        """Prepare to serve ``app`` with these settings; ``on_start`` is called when it accepts requests."""
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                access_log=False,  # it would log addresses that callers send; guard/middleware.py logs routes instead
                log_config=None,
                http=partial(_Connection, head_s=settings.body_timeout_s),  # type: ignore[arg-type]  # uvicorn only calls it
                server_header=False,
                ws_max_size=settings.max_frame_bytes,
                ws_max_queue=2,  # frames; a newer frame replaces a waiting one anyway
                ws_per_message_deflate=False,  # pictures are already compressed
                limit_concurrency=settings.max_connections,
                timeout_graceful_shutdown=max(1, round(settings.stop_timeout_s)),
            )
        )
        self._app, self._told_to_stop = app, False
        self._gate: Gate = app.state.gate
        self._stop_timeout_s = settings.stop_timeout_s
        self._deadline = 0.0
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the models and start to listen."""
        await super().startup(sockets)
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Start to stop; the signal handler calls it."""
        if self._gate.stopping:
            self.should_exit = self.force_exit = True
        self._gate.stopping = True
        self._deadline = time.monotonic() + self._stop_timeout_s

    async def on_tick(self, counter: int) -> bool:
        """Return whether the process should end now."""
        if self._gate.stopping and not self._told_to_stop:
            self._told_to_stop = True
            await self._app.state.service.stop()
        if self._gate.stopping and (not self._gate.open_requests or time.monotonic() > self._deadline):
            self.should_exit = True
        return await super().on_tick(counter)


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens on the host and port of the settings.

    Raises:
        UsageError: the address is in use, or it does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        option = "--host" if isinstance(error, socket.gaierror) else "--port"
        raise UsageError(
            f"expected a free address, cannot listen on {where} ({error.strerror or error}); choose another {option}"
        ) from None
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the address to open in a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def set_up_log() -> None:
    """Write the service's log to stderr, one line per request."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("uvicorn.error", "uvicorn.lifespan"):
        logging.getLogger(name).addFilter(_is_worth_logging)


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Return False for progress messages of uvicorn, and for traces of failed starts, which the command reports in a sentence."""
    message = record.getMessage()
    return record.levelno >= logging.WARNING and not ("mien.errors." in message or message.startswith("Application startup failed"))
