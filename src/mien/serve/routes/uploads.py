"""Reads request bodies. The limits on size, number of files and total time are checked while the body arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from mien.serve.refusals import Refusal
from mien.wording import printable

FIELD = "file"  # name of the form field with the photos or the video
MAX_NAME_LENGTH = 200  # characters of a file name that are kept
MAX_PART_HEADER_BYTES = 8192  # bytes of the headers of one part


@dataclass(frozen=True)
class BodyLimits:
    """The limits of one request."""

    max_bytes: int  # of the whole body
    max_file_bytes: int
    max_files: int
    timeout_s: float


@dataclass(frozen=True)
class FileStart:
    """The start of a file; ``name`` is the name that the sender gave, without folders."""

    name: str


@dataclass(frozen=True)
class Upload:
    """One file of a form; ``refusal`` is set if the file is too large."""

    name: str
    data: bytes
    refusal: Refusal | None = None


def is_multipart(request: Request) -> bool:
    """Return whether the body is a multipart form."""
    return _content_type(request) == "multipart/form-data"


def check_is_image(request: Request) -> None:
    """Raise Refusal if the content type of the body is not a picture; a missing or generic type is accepted."""
    kind = _content_type(request)
    if kind and not kind.startswith("image/") and kind != "application/octet-stream":
        raise Refusal(
            415, "unsupported_media", "expected an image/... body or a multipart form; set Content-Type, to image/jpeg for example"
        )


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """Return the whole body.

    Raises:
        Refusal: the body is too large, too slow or compressed.
        ClientDisconnect: the sender has disconnected.
    """
    body = bytearray()
    async for chunk in _chunks(request, min(limits.max_bytes, limits.max_file_bytes), limits.timeout_s):
        body += chunk
    return bytes(body)


async def read_files(request: Request, limits: BodyLimits) -> list[Upload]:
    """Return the files of a multipart form in their order, with their bytes in memory; raises as :func:`file_events` does."""
    files: list[tuple[str, bytearray]] = []
    refusals: dict[int, Refusal] = {}
    async for event in file_events(request, limits):
        match event:
            case FileStart(name):
                files.append((name, bytearray()))
            case Refusal():
                files[-1][1].clear()
                refusals[len(files) - 1] = event
            case _:
                files[-1][1].extend(event)
    uploads = []
    for index, (name, data) in enumerate(files):
        uploads.append(Upload(name, bytes(data), refusals.get(index)))
        data.clear()  # so that only one file at a time is in memory twice
    return uploads


async def file_events(request: Request, limits: BodyLimits) -> AsyncIterator[FileStart | Refusal | bytes]:
    """Yield the start and then the bytes of every file of a multipart form, in pieces as they arrive.

    For a file over the limit, yields the bytes that fit, then a Refusal.

    Raises:
        Refusal: the body is not such a form, has a field other than ``file``, or exceeds ``limits``; or it is too slow or compressed.
        ClientDisconnect: the sender has disconnected.
    """
    form = _Form(limits)
    parser = _parser(request, form)
    async for chunk in _chunks(request, limits.max_bytes, limits.timeout_s):
        try:
            parser.write(chunk)
        except FormParserError:
            raise _malformed("the form's parts cannot be told apart") from None
        for event in form.events:
            yield event
        form.events.clear()
    if not form.complete:
        raise _malformed("the form ends before its last part does")
    if not form.count:
        raise _malformed("the form has no file in it")


class _Form:
    """Collects the events of the parser."""

    def __init__(self, limits: BodyLimits) -> None:
        self.events: list[FileStart | Refusal | bytes] = []
        self.complete = False
        self.count = 0
        self._limits = limits
        self._size = 0
        self._header, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._collect(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: self._collect(self._value, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._start_file,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers, self._header_bytes, self._size = {}, 0, 0
        self._header.clear()
        self._value.clear()

    def _collect(self, into: bytearray, piece: bytes) -> None:
        self._header_bytes += len(piece)
        if self._header_bytes > MAX_PART_HEADER_BYTES:
            raise _malformed("a part's headers are too long")
        into += piece

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _start_file(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field != FIELD:
            raise _malformed(
                f"expected parts called {FIELD!r}, got {printable(field[:MAX_NAME_LENGTH])!r}; curl sends them with -F {FIELD}=@photo.jpg"
            )
        self.count += 1
        if self.count > self._limits.max_files:
            raise Refusal(
                413, "too_large", f"expected at most {self._limits.max_files} files in one request, got more; send several requests"
            )
        self.events.append(FileStart(clean_name(options.get(b"filename", b"").decode("utf-8", "replace"))))

    def _data(self, data: bytes, start: int, end: int) -> None:
        most = self._limits.max_file_bytes
        fitted = self._size <= most
        self._size += end - start
        if self._size <= most:
            self.events.append(data[start:end])
        elif fitted:
            self.events.append(_too_large(most))

    def _end(self) -> None:
        self.complete = True


def clean_name(name: str) -> str:
    r"""Return the last part of the name that a sender gave to a file, on one line and not too long.

    >>> clean_name("../../etc/passwd"), clean_name("C:\\me\\a\nb.jpg"), clean_name("")
    ('passwd', 'a\\nb.jpg', '<upload>')
    """
    return printable(name.replace("\\", "/").rsplit("/", 1)[-1][:MAX_NAME_LENGTH])[:MAX_NAME_LENGTH] or "<upload>"


def _parser(request: Request, form: _Form) -> MultipartParser:
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    try:
        return MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]  # its callbacks are a TypedDict
    except FormParserError:
        raise _malformed("the form's boundary is missing or too long") from None


async def _chunks(request: Request, most: int, timeout_s: float) -> AsyncIterator[bytes]:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "unsupported_media", "expected a body that is not compressed; leave Content-Encoding out")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > most:
        raise _too_large(most)
    deadline = asyncio.get_running_loop().time() + timeout_s
    size, more = 0, True
    while more:
        try:
            async with asyncio.timeout_at(deadline):
                message = await request.receive()
        except TimeoutError:
            raise Refusal(408, "too_slow", f"expected the whole request within {timeout_s:g} s, got less; send less, or faster") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            yield chunk


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def _too_large(most: int) -> Refusal:
    return Refusal(413, "too_large", f"expected at most {most:,} bytes, got more; make the file smaller")


def _malformed(reason: str) -> Refusal:
    return Refusal(422, "malformed", f"expected a multipart form with files: {reason}")
