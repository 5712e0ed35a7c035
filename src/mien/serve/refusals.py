"""How the service reports errors: one JSON shape with a stable code and a sentence for every error."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from mien.errors import (
    CorruptMediaError,
    FetchError,
    MediaError,
    MienError,
    NotFoundError,
    TooLargeError,
    UnsupportedMediaError,
    UsageError,
)
from mien.wording import printable

RETRY_AFTER_S = 1
MAX_KEY_LENGTH = 60  # characters of an unknown query key that the answer repeats
# HTTP status of the errors that a caller can cause; all other errors are faults of the service.
STATUS: Mapping[type[MienError], int] = {
    TooLargeError: 413,
    UnsupportedMediaError: 415,
    CorruptMediaError: 422,
    FetchError: 422,
    NotFoundError: 422,
    UsageError: 422,
    MediaError: 422,
}
# Code and sentence for requests that the web framework refuses.
BY_STATUS = {
    404: ("not_found", "there is nothing at this address; /docs lists what there is"),
    405: ("method", "this address takes other methods; /docs lists them"),
}


class Refusal(Exception):  # noqa: N818  (it is an answer, not a fault)
    """Raised to answer a request with an error: HTTP status, stable code and sentence."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


def busy(what: str) -> Refusal:
    """Return the refusal of a service that is full; ``what`` names the resource that is used up."""
    return Refusal(503, "busy", f"{what}; try again in a moment", retry_after_s=RETRY_AFTER_S)


def error_body(code: str, message: str, request_id: str) -> dict[str, Any]:
    """Return the JSON object of an error answer."""
    return {"error": {"code": code, "message": message, "id": request_id}}


def refusal_of(error: MienError) -> Refusal:
    """Return the answer to an error that the caller caused. Any other error is raised again."""
    for kind, status in STATUS.items():
        if isinstance(error, kind):
            return Refusal(status, error.code, sentence(error))
    raise error


def sentence(error: MienError) -> str:
    """Return the sentence about an error that a caller may read.

    The reason for a failed download is not included, because it would let callers explore the network of the service.
    """
    if isinstance(error, FetchError):
        return "expected a picture at a public web address, got none; check the address, or send the picture itself"
    return str(error)


async def known_keys(request: Request) -> None:
    """Raise Refusal for a query key that the address does not know; a typing error such as ``max_face=3`` would otherwise be ignored."""
    known = [str(field.alias) for field in request.scope["route"].dependant.query_params]
    for key in request.query_params:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known) or 'none'}"
            raise Refusal(422, "usage", f"expected a query key of this address, got {printable(key[:MAX_KEY_LENGTH])!r}; {hint}")


def install(app: FastAPI) -> None:
    """Make the application answer every error in the same JSON shape."""

    async def refused(request: Request, error: Exception) -> Response:
        refusal = _refusal(error)
        body = error_body(refusal.code, refusal.message, request.scope.get("mien.id", ""))
        return JSONResponse(body, refusal.status, headers={**refusal.headers, "X-Error-Code": refusal.code})

    for kind in (Refusal, MienError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, refused)


def _refusal(error: Exception) -> Refusal:
    match error:
        case Refusal():
            return error
        case MienError():
            return refusal_of(error)
        case RequestValidationError():
            return Refusal(422, "usage", _complaint(error))
        case HTTPException():
            code, message = BY_STATUS.get(error.status_code, ("http", "this request cannot be answered; /docs says what can"))
            refusal = Refusal(error.status_code, code, message)
            refusal.headers = {**(error.headers or {})}
            return refusal
    raise error


def _complaint(error: RequestValidationError) -> str:
    parts = (f"{'.'.join(str(step) for step in item['loc'][1:]) or item['loc'][0]}: {item['msg']}" for item in error.errors())
    return "; ".join(parts)
