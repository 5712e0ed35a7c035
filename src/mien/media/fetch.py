"""Downloads an http(s) address, with limits on the total time, the size and the number of redirects."""

from __future__ import annotations

import base64
import http.client
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO

from mien.errors import FetchError, MediaError, NotFoundError, TooLargeError, UnsupportedMediaError
from mien.media.connections import Connections
from mien.media.public import is_public
from mien.version import __version__

CHUNK_BYTES = 2**16


def fetch(
    url: str,
    *,
    max_bytes: int,
    timeout_s: float,
    max_redirects: int,
    public_only: bool = False,
    timeout_setting: str = "--timeout-s (timeout_s)",
) -> bytes:
    """Return the body at ``url``. ``timeout_s`` covers everything from the name look-up to the last byte.

    A user and password in the address are used to log in (basic authentication, RFC 7617). They go to that server only, and not to
    servers that it redirects to. ``timeout_setting`` is the name of the setting that allows more time; error messages show it.

    urllib has no overall timeout, so the download runs in a thread, and this function stops waiting for it after ``timeout_s``. It then
    closes the connection, so that the thread ends even if the server keeps sending a few bytes at a time.
    With ``public_only``, addresses that are not public are refused, also after redirects, and no proxy is used.

    Raises:
        NotFoundError: the server answers with HTTP 404 or 410.
        UnsupportedMediaError: the body is a web page.
        TooLargeError: the body has more than ``max_bytes``.
        FetchError: the body does not arrive completely and in time for any other reason.
    """
    answers: SimpleQueue[bytes | Exception] = SimpleQueue()
    connections = Connections(is_public if public_only else None)

    def download() -> None:
        try:
            answers.put(_download(url, max_bytes, timeout_s, _opener(connections, max_redirects), max_redirects, timeout_setting))
        except Exception as error:  # raised in the caller's thread, below
            answers.put(error)
        finally:
            connections.close()

    Thread(target=download, name="mien-fetch", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout_s)
    except Empty:
        connections.cut()
        raise _timed_out(url, timeout_s, timeout_setting) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _in_ascii(url: str) -> str:
    """Return an address in ASCII, as HTTP requires: the host in IDNA (RFC 3490), all other parts quoted.

    >>> _in_ascii("https://bücher.example:8080/ä b.jpg?x=1")
    'https://xn--bcher-kva.example:8080/%C3%A4%20b.jpg?x=1'
    """
    parts = urllib.parse.urlsplit(url)
    if not parts.netloc.isascii():
        user, at, place = parts.netloc.rpartition("@")
        host, colon, port = place.partition(":")
        parts = parts._replace(netloc=f"{user}{at}{host.encode('idna').decode()}{colon}{port}")
    return urllib.parse.quote(parts.geturl(), safe=string.punctuation)


def _request(url: str) -> urllib.request.Request:
    """Return a request for an address. User and password go into the Authorization header and not into the URL."""
    request = urllib.request.Request(  # noqa: S310  (http and https only)
        _in_ascii(_without_login(url)), headers={"User-Agent": f"mien/{__version__}"}
    )
    if login := urllib.parse.urlsplit(url).netloc.rpartition("@")[0]:
        request.add_unredirected_header("Authorization", _basic(login))
    return request


def _without_login(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode()}"


def _origin(url: str) -> tuple[str, str]:
    """Return scheme and host with port. A login is valid only for this pair."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()


def _download(
    url: str, max_bytes: int, timeout_s: float, opener: urllib.request.OpenerDirector, max_redirects: int, timeout_setting: str
) -> bytes:
    deadline = time.monotonic() + timeout_s
    body = bytearray()
    try:
        with opener.open(_request(url), timeout=timeout_s) as response:
            kind = response.headers.get_content_type()
            if kind in ("text/html", "application/xhtml+xml"):
                raise UnsupportedMediaError(f"expected an image at {url}, got a web page ({kind}); use the address of the picture itself")
            expected = response.length  # None if the server does not send the length
            if expected is not None and expected > max_bytes:
                raise _too_large(url, f"{expected:,}", max_bytes)
            while chunk := response.read1(CHUNK_BYTES):
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(url, "more", max_bytes)
                if time.monotonic() > deadline:
                    raise _timed_out(url, timeout_s, timeout_setting)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(url, error.code, max_redirects) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)  # URLError wraps the actual error
        if isinstance(reason, TimeoutError):
            raise _timed_out(url, timeout_s, timeout_setting) from None
        line = " ".join(str(reason).split())
        raise FetchError(f"expected an image at {url}, got no answer ({line}); check the address and the network", transient=True) from None
    if expected is not None and len(body) < expected:
        raise FetchError(
            f"expected {expected:,} bytes from {url}, got {len(body):,} before the connection closed; try again", transient=True
        )
    return bytes(body)


def _opener(connections: Connections, max_redirects: int) -> urllib.request.OpenerDirector:
    """Return an opener that supports only http and https, also after redirects."""

    class Redirects(urllib.request.HTTPRedirectHandler):
        max_redirections = max_repeats = max_redirects

        def redirect_request(
            self,
            req: urllib.request.Request,
            fp: IO[bytes],
            code: int,
            msg: str,
            headers: http.client.HTTPMessage,
            newurl: str,
        ) -> urllib.request.Request | None:
            """Use the login in the new address or, on a redirect to the same server, the previous login."""
            login = urllib.parse.urlsplit(newurl).netloc.rpartition("@")[0]
            following = super().redirect_request(req, fp, code, msg, headers, _without_login(newurl))
            if following is not None and login:
                following.add_unredirected_header("Authorization", _basic(login))
            elif following is not None and _origin(newurl) == _origin(req.full_url) and req.has_header("Authorization"):
                following.add_unredirected_header("Authorization", str(req.get_header("Authorization")))
            return following

    opener = urllib.request.OpenerDirector()
    for handler in (
        *connections.handlers(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _refused(url: str, status: int, max_redirects: int) -> MediaError:
    if status in (404, 410):
        return NotFoundError(f"expected an image at {url}, got HTTP {status}: there is nothing; check the address")
    if 300 <= status < 400:
        return FetchError(
            f"expected an image at {url} after at most {max_redirects} redirects, all to http(s) addresses, "
            f"got another one (HTTP {status}); open it in a browser and use the final address"
        )
    if status == 401:
        login = "put USER:PASSWORD@ before the host, with %40 for an @ and %2F for a / in them"
        return FetchError(f"expected an image at {url}, got HTTP 401: it wants a login; {login}")
    phrase = http.client.responses.get(status, "unknown status")
    transient = status >= 500 or status in (408, 425, 429)
    message = f"expected an image at {url}, got HTTP {status} ({phrase}); download it by other means and pass the file"
    return FetchError(message, transient=transient)


def _timed_out(url: str, timeout_s: float, setting: str) -> FetchError:
    message = f"expected the whole image at {url} within {timeout_s:g} s, got less; try again, or allow more with {setting}"
    return FetchError(message, transient=True)


def _too_large(url: str, size: str, max_bytes: int) -> TooLargeError:
    more = "use a smaller picture, or allow more with --max-bytes (max_bytes)"
    return TooLargeError(f"expected at most {max_bytes:,} bytes at {url}, got {size}; {more}")
