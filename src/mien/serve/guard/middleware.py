"""The middleware around every request: an id, access checks, security headers, and a plain 500 for unexpected errors."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.serve.guard.gate import Gate
from mien.serve.guard.keys import key_in, opens
from mien.serve.metrics import Metrics
from mien.serve.refusals import Refusal, busy, error_body
from mien.serve.settings import Settings, is_loopback

log = logging.getLogger("mien.serve")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self' blob:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
# Swagger UI sets style attributes.
DOCS_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",  # together with the next header, it allows threads in WebAssembly
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
ALWAYS_ANSWERED = ("/healthz", "/readyz", "/metrics")
LOCKED = ("/v1/", "/metrics")
READING = ("GET", "OPTIONS")


class Guard:
    """The middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, settings: Settings, gate: Gate, metrics: Metrics) -> None:
        self._app, self._settings, self._gate, self._metrics = app, settings, gate, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or pass one live stream on."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            # A HEAD request is handled as a GET; the server leaves out the body.
            await self._request({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        scope["mien.id"] = uuid4().hex
        origin = headers.get("origin")
        if self._gate.stopping or not self._is_known_host(headers) or not self._is_own_page(origin, headers):
            await send({"type": "websocket.close", "code": 1008})  # before the socket is accepted, this becomes HTTP 403
            return
        await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["mien.id"] = request_id = uuid4().hex
        began, status = time.perf_counter(), 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(MutableHeaders(scope=message), scope)
            await send(message)

        self._gate.open_requests += 1
        self._metrics.in_flight.inc()
        try:
            self._check(scope)
            await self._app(scope, receive, send_guarded)
        except Refusal as refusal:
            await _answer(send_guarded, refusal, request_id)
        except ClientDisconnect:
            status = 499  # the status that proxies log for a client that has disconnected
        except Exception:
            log.exception("request %s failed", request_id)
            if status:
                raise  # the answer has started; the server can only close the connection
            await _answer(send_guarded, Refusal(500, "internal", "something went wrong here; quote the id to the operator"), request_id)
        finally:
            self._gate.open_requests -= 1
            self._metrics.in_flight.dec()
            self._note(scope, status, time.perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        """Raise Refusal for a request that may not continue."""
        headers, path = Headers(scope=scope), _path_inside(scope)
        if not self._is_known_host(headers):
            raise Refusal(421, "host", "the service does not go by this name; see its setting allowed_hosts")
        if self._gate.stopping and path not in ALWAYS_ANSWERED:
            raise busy("the service is stopping")
        if scope["method"] not in READING and not self._settings.api_keys and not self._is_own_page(headers.get("origin"), headers):
            raise Refusal(403, "origin", "pages of other sites are kept out; the setting cors_origins lets one in")
        if path.startswith(LOCKED) and not opens(key_in(headers), self._settings.api_keys):
            refusal = Refusal(401, "key", "expected an API key; send it as Authorization: Bearer KEY")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            raise refusal

    def _is_known_host(self, headers: Mapping[str, str]) -> bool:
        """Return whether the Host header is allowed; this stops pages whose own name points to this machine (DNS rebinding)."""
        if "*" in self._settings.allowed_hosts or (not self._settings.is_local and not self._settings.allowed_hosts):
            return True
        name = _host_name(headers.get("host", "")).lower()
        return is_loopback(name) or name in (self._settings.host.lower(), *map(str.lower, self._settings.allowed_hosts))

    def _is_own_page(self, origin: str | None, headers: Mapping[str, str]) -> bool:
        """Return whether the origin is allowed; browsers send sockets and uploads of other sites without asking first."""
        welcome = self._settings.cors_origins
        return origin is None or origin.partition("://")[2] == headers.get("host") or origin in welcome or "*" in welcome

    def _add_headers(self, headers: MutableHeaders, scope: Scope) -> None:
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers["X-Request-Id"] = scope["mien.id"]
        if _path_inside(scope).startswith("/v1/"):
            headers.setdefault("Cache-Control", "no-store")
        if self._gate.stopping:
            headers["Connection"] = "close"

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope)
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        log.info("%s %s %s %.0f ms %s", scope["method"], route, status, 1000 * seconds, scope["mien.id"])


def _path_inside(scope: Scope) -> str:
    """Return the path without the prefix under which the service is mounted, as routes see it.

    >>> _path_inside({"path": "/behind/v1/models", "root_path": "/behind"}), _path_inside({"path": "/v1/models", "root_path": "/v1"})
    ('/v1/models', '/models')
    """
    root, path = scope.get("root_path", ""), scope["path"]
    return str(path[len(root) :] if path.startswith(f"{root}/") else path)


def _route(scope: Scope) -> str:
    """Return the pattern of the route, not the path itself, because the number of different paths has no limit.

    >>> _route({"root_path": "/behind/page", "app_root_path": "/behind"}), _route({"root_path": "/behind"})
    ('/page/{file}', 'other')
    """
    if path := getattr(scope.get("route"), "path", ""):
        return str(path)
    mounted = scope.get("root_path", "").removeprefix(scope.get("app_root_path", scope.get("root_path", "")))
    return f"{mounted}/{{file}}" if mounted else "other"


async def _answer(send: Send, refusal: Refusal, request_id: str) -> None:
    body = json.dumps(error_body(refusal.code, refusal.message, request_id)).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "X-Error-Code": refusal.code, **refusal.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _host_name(host: str) -> str:
    """Return the host name of a Host header, without the port.

    >>> [_host_name(host) for host in ("localhost:8000", "[::1]:80", "127.0.0.1")]
    ['localhost', '::1', '127.0.0.1']
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
