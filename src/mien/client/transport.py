"""Conversions between the flows and httpx, for both clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import httpx
from websockets.exceptions import WebSocketException

from mien.atomic import atomic_write
from mien.client.flows import Answer, Call
from mien.errors import ServiceError
from mien.version import __version__

ADDRESS = "http://127.0.0.1:8000"
CONNECT_TIMEOUT_S = 10.0


def headers_of(api_key: str | None) -> dict[str, str]:
    """Return the headers of every request."""
    key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return {"User-Agent": f"mien/{__version__}", **key}


def timeout_of(seconds: float) -> httpx.Timeout:
    """Return the time limits of one request."""
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT_S))


def open_files(call: Call, stack: ExitStack) -> list[tuple[str, tuple[str, IO[bytes] | bytes]]] | None:
    """Return a call's files in httpx's format. Files on disk stay open until ``stack`` is closed."""
    if not call.files:
        return None
    return [
        ("file", (name, stack.enter_context(content.open("rb")) if isinstance(content, Path) else content)) for name, content in call.files
    ]


@contextmanager
def saving(file: Path) -> Iterator[IO[bytes]]:
    """Open a new file for writing. It receives its name, and replaces an older file, only when it is complete."""
    with atomic_write(file) as draft, draft.open("wb") as out:
        yield out


def answer_of(response: httpx.Response, body: bytes) -> Answer:
    """Return an HTTP response as an :class:`Answer` for the flows."""
    said = response.headers.get("retry-after", "")
    return Answer(response.status_code, body, retry_after_s=float(said) if said.isdecimal() else None)


def failure_of(error: httpx.TransportError) -> Answer:
    """Return the :class:`Answer` for a request without a response."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return Answer(None, failure=reason, connected=not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)))


@contextmanager
def reaching() -> Iterator[None]:
    """Turn errors of a live socket into a ServiceError. The caller's frames are read outside, so that their errors stay."""
    try:
        yield
    except (OSError, WebSocketException) as error:
        raise no_answer(error) from None


def no_answer(error: Exception) -> ServiceError:
    """Return the error for a live socket that cannot be opened or was closed."""
    return ServiceError(f"expected a live socket of the service, got none ({error}); check the address and the key, and whether it runs")
