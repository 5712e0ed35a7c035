"""The logic of the clients, without input and output. Each call is a generator, so that the sync and the async client share it.

A flow yields a :class:`Call` and receives an :class:`Answer`, or it yields a :class:`Pause`. Its return value is the result.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mien.errors import MediaError, NotFoundError, ServiceError, TooLargeError, UnreadableError, UsageError
from mien.results import ErrorResult, FrameResult, Record, record_from_dict

T = TypeVar("T")
Photo = str | Path | bytes
RETRIED = (429, 502, 503, 504)
TOO_LARGE = 413
FIRST_PAUSE_S, MAX_PAUSE_S = 0.2, 10.0
FILES_A_REQUEST, BYTES_A_REQUEST = 16, 50_000_000
POLL_S, MAX_POLL_S = 0.2, 2.0


@dataclass(frozen=True)
class Call:
    """A request."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    files: Sequence[tuple[str, bytes | Path]] = ()  # name, and the content or its path
    save_to: Path | None = None  # file for the body of a successful answer
    repeatable: bool = True  # the request may be sent twice


@dataclass(frozen=True)
class Pause:
    """A wait."""

    seconds: float


@dataclass(frozen=True)
class Answer:
    """The response: a status and a body, or the reason why there is none."""

    status: int | None
    body: bytes = b""
    retry_after_s: float | None = None
    failure: str = ""
    connected: bool = True  # False: the request was certainly not received


Step = Call | Pause
Flow = Generator[Step, Any, T]


def analyze(photo: Photo, options: Mapping[str, Any], retries: int) -> Flow[FrameResult]:
    """Return the record of one photo.

    Raises:
        ServiceError: the service refuses the photo, fails, or does not answer.
    """
    name, data = _named(photo)
    answer = yield from _reliably(Call("POST", "/v1/analyze", _given(options), files=[(name, data)]), retries)
    (record,) = _records(answer)
    if isinstance(record, ErrorResult):
        raise ServiceError(f"{record.message} [{record.code}]", status=200, reason=record.code)
    return record


def analyze_many(photos: Sequence[Photo], options: Mapping[str, Any], retries: int) -> Flow[list[Record]]:
    """Return one record per photo, in order. A photo that is too large or unreadable, here or in the service, gives an error record."""
    records: list[Record] = []
    for group in _groups(photos):
        answered = iter((yield from _answered([item for item in group if not isinstance(item, ErrorResult)], options, retries)))
        records += [item if isinstance(item, ErrorResult) else next(answered) for item in group]
    return records


def _answered(files: Sequence[tuple[str, bytes]], options: Mapping[str, Any], retries: int) -> Flow[list[Record]]:
    """Return one record per file. Files that are too large for one request are sent in halves."""
    if not files:
        return []
    try:
        answer = yield from _reliably(Call("POST", "/v1/analyze", _given(options), files=files), retries)
    except ServiceError as error:
        if error.status != TOO_LARGE:
            raise
        if len(files) == 1:
            return [ErrorResult(files[0][0], TooLargeError.code, str(error).removesuffix(f" [{error.reason}]"))]
        middle = len(files) // 2
        first = yield from _answered(files[:middle], options, retries)
        return first + (yield from _answered(files[middle:], options, retries))
    records = _records(answer)
    if len(records) != len(files):
        raise ServiceError(f"expected {len(files)} records of the service, got {len(records)}; use one version on both sides")
    return records


def models(retries: int) -> Flow[list[dict[str, Any]]]:
    """Return the models of the service."""
    answer = yield from _reliably(Call("GET", "/v1/models"), retries)
    found: list[dict[str, Any]] = json.loads(answer.body)["models"]
    return found


def hand_in(path: Path, every_s: float | None, annotated: Path | None, retries: int) -> Flow[str]:
    """Send a video to the service and return the address of its job.

    Raises:
        NotFoundError: the file does not exist.
        UsageError: the folder for the annotated copy does not exist.
        ServiceError: the service refuses the video, or does not answer.
    """
    if not path.is_file():
        raise NotFoundError(f"expected a video file, got {path}, which does not exist; check the path")
    if annotated and not annotated.parent.is_dir():
        raise UsageError(f"expected a folder for the annotated copy, got {annotated.parent}, which does not exist; make it first")
    options = _given({"every": every_s, "annotated": annotated is not None})
    answer = yield from _reliably(Call("POST", "/v1/video", options, files=[(path.name, path)], repeatable=False), retries)
    address: str = json.loads(answer.body)["links"]["self"]
    return address


def outcome(
    address: str, annotated: Path | None, on_progress: Callable[[dict[str, Any]], None] | None, retries: int
) -> Flow[list[FrameResult]]:
    """Wait until a video is finished, save its annotated copy, and return its records.

    Raises:
        ServiceError: the job of the video failed, or the service lost it.
    """
    yield from _until_done(address, on_progress, retries)
    answer = yield from _reliably(Call("GET", f"{address}/result"), retries)
    records = [FrameResult.from_dict(json.loads(line)) for line in answer.body.splitlines()]
    if annotated:
        yield from _reliably(Call("GET", f"{address}/annotated.mp4", save_to=annotated), retries)
    return records


def remove(address: str) -> Flow[None]:
    """Remove a video from the service, if it can be reached. Otherwise the service removes it later."""
    yield Call("DELETE", address)


def _until_done(address: str, on_progress: Callable[[dict[str, Any]], None] | None, retries: int) -> Flow[None]:
    pause_s = POLL_S
    while True:
        answer = yield from _reliably(Call("GET", address), retries)
        job = json.loads(answer.body)
        if on_progress:
            on_progress(job)
        if job["state"] == "done":
            return
        if job["state"] in ("failed", "cancelled"):
            error = job["error"] or {"code": job["state"], "message": "the video was cancelled"}
            raise ServiceError(f"{error['message']} [{error['code']}]", status=200, reason=error["code"])
        yield Pause(pause_s)
        pause_s = min(1.5 * pause_s, MAX_POLL_S)


def _reliably(call: Call, retries: int) -> Flow[Answer]:
    """Return a successful answer. Errors that may pass are retried, up to ``retries`` times."""
    for attempt in range(retries + 1):
        answer: Answer = yield call
        if answer.status is not None and answer.status < 300:
            return answer
        # 429 and 503 are sent before the service starts the work, so even a request that must not run twice may be sent again.
        not_taken = answer.status in (429, 503) or not answer.connected
        worth_it = answer.status is None or answer.status in RETRIED
        if attempt == retries or not worth_it or not (call.repeatable or not_taken):
            raise _error(answer)
        yield Pause(back_off(attempt, answer.retry_after_s))
    raise UsageError(f"expected 0 retries or more, got {retries}")


def back_off(attempt: int, retry_after_s: float | None) -> float:
    """Return the wait in seconds after a failed attempt, counted from 0. It doubles each time, with random jitter between callers.

    >>> 0.1 <= back_off(0, None) <= 0.2 and 5 <= back_off(20, None) <= 10, back_off(0, 3.0) >= 3
    (True, True)
    """
    longest = min(FIRST_PAUSE_S * 2**attempt, MAX_PAUSE_S)
    chance = random.uniform(longest / 2, longest)  # noqa: S311  (not a secret)
    return chance if retry_after_s is None else min(retry_after_s, MAX_PAUSE_S) + chance


def _error(answer: Answer) -> ServiceError:
    if answer.status is None:
        return ServiceError(f"expected an answer of the service, got none ({answer.failure}); check the address, and whether it runs")
    try:
        error = json.loads(answer.body)["error"]
        return ServiceError(f"{error['message']} [{error['code']}]", status=answer.status, reason=error["code"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(
            f"expected an answer of Mien, got HTTP {answer.status}; check the address", status=answer.status, reason="foreign"
        )


def _records(answer: Answer) -> list[Record]:
    try:
        return [record_from_dict(record) for record in json.loads(answer.body)["results"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ServiceError(f"expected records of this Mien's schema, got others ({error}); use one version on both sides") from None


def _groups(photos: Sequence[Photo]) -> Iterator[list[tuple[str, bytes] | ErrorResult]]:
    """Yield the files of one request at a time, with error records for unreadable ones. Only these files are in memory."""
    group: list[tuple[str, bytes] | ErrorResult] = []
    size = 0
    for photo in photos:
        try:
            name, data = _named(photo)
        except MediaError as error:
            group.append(ErrorResult("<bytes>" if isinstance(photo, bytes) else Path(photo).name, error.code, str(error)))
        else:
            group.append((name, data))
            size += len(data)
        if len(group) == FILES_A_REQUEST or size >= BYTES_A_REQUEST:
            yield group
            group, size = [], 0
    if group:
        yield group


def _named(photo: Photo) -> tuple[str, bytes]:
    if isinstance(photo, bytes):
        return "<bytes>", photo
    if not isinstance(photo, (str, Path)):
        raise UsageError(f"expected a path or an encoded picture's bytes, got {type(photo).__name__}")
    try:
        return Path(photo).name, Path(photo).read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"expected an image file, got {photo}, which does not exist; check the path") from None
    except OSError as error:
        raise UnreadableError(f"expected a readable file, got {photo} ({error.strerror}); check its permissions") from None


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are set, in the format of a URL query."""
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items() if value is not None}


def live_record(message: Mapping[str, Any]) -> Record | None:
    """Return the record in a message of a live socket, or None if the message has none.

    Raises:
        ServiceError: the service ends the stream with this message.
    """
    if message["type"] == "result":
        return FrameResult.from_dict(message)
    if message["type"] == "error":
        error = message["error"]
        if "sequence" not in message:
            raise ServiceError(f"{error['message']} [{error['code']}]", reason=error["code"])
        return ErrorResult("<stream>", error["code"], error["message"], frame_index=message["sequence"])
    return None


def live_options(api_key: str | None, max_faces: int | None, smoothing_s: float | None) -> str:
    """Return the first message of a live socket."""
    return json.dumps(_given({"key": api_key, "max_faces": max_faces, "smoothing_s": smoothing_s}))


def live_address(base_url: str) -> str:
    """Return the address of the live socket.

    >>> live_address("https://example.org/mien/")
    'wss://example.org/mien/v1/stream'
    """
    return "ws" + base_url.rstrip("/").removeprefix("http") + "/v1/stream"
