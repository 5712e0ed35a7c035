"""Live streams: frames in, results with track ids out; only the newest frame is processed.

For each stream, one task of the event loop receives frames and one thread analyses them. If frames arrive faster than they are analysed, a
newer frame replaces the waiting one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from mien.errors import MediaError
from mien.latest import Latest
from mien.media.images import ReadLimits, read_photo
from mien.media.video import VideoFrame
from mien.pipeline import Pipeline
from mien.serve.guard.keys import key_in, opens
from mien.serve.metrics import Metrics
from mien.serve.refusals import error_body, sentence
from mien.serve.settings import Settings
from mien.track import TIME_CONSTANT_S

log = logging.getLogger("mien.serve")
SEND_TIMEOUT_S = 10.0  # a caller that does not read its answers for this time is disconnected
HELLO_S = 10.0  # a caller that sends no first message for this time is disconnected
BUSY_EVERY_S = 1.0
POLICY, TOO_BIG, INTERNAL, RESTART, TRY_LATER = 1008, 1009, 1011, 1012, 1013  # RFC 6455 and IANA's registry


class Options(BaseModel):
    """The options that the first message may contain."""

    model_config = ConfigDict(extra="forbid")

    key: str | None = None
    max_faces: int | None = Field(None, ge=1)
    smoothing_s: float = Field(TIME_CONSTANT_S, gt=0, le=60)


class Goodbye(Exception):  # noqa: N818  (a way to end, not a fault)
    """Raised to close the socket: the close code, and the error that is sent before."""

    def __init__(self, close_code: int, code: str, message: str) -> None:
        super().__init__(message)
        self.close_code, self.code, self.message = close_code, code, message


class Streams:
    """All live streams of one service."""

    def __init__(self, pipeline: Pipeline, settings: Settings, metrics: Metrics) -> None:
        self.pipeline, self.settings, self.metrics = pipeline, settings, metrics
        self.threads = ThreadPoolExecutor(settings.max_streams, thread_name_prefix="mien-stream")
        self._sockets: set[WebSocket] = set()

    async def serve(self, socket: WebSocket) -> None:
        """Serve one socket until it closes."""
        await socket.accept()
        try:
            stream = _Stream(self, socket)
            if opens(key_in(socket.headers), self.settings.api_keys):
                self._check_room()
            options, first = await stream.options()  # a caller without a key takes no place
            self._check_room()
            self._sockets.add(socket)
            self.metrics.streams.inc()
            try:
                await stream.run(options, first)
            finally:
                self._sockets.discard(socket)
                self.metrics.streams.dec()
        except Goodbye as goodbye:
            await _send(socket, {"type": "error", **error_body(goodbye.code, goodbye.message, socket.scope["mien.id"])})
            await _close(socket, goodbye.close_code)
        except WebSocketDisconnect:
            pass
        except Exception:
            log.exception("stream %s failed", socket.scope["mien.id"])
            await _close(socket, INTERNAL)

    def _check_room(self) -> None:
        if len(self._sockets) >= self.settings.max_streams:
            raise Goodbye(TRY_LATER, "busy", f"all {self.settings.max_streams} live sockets are taken; try again in a moment")

    async def stop(self) -> None:
        """Close every socket with the code for a restart."""
        await asyncio.gather(*(_close(socket, RESTART) for socket in tuple(self._sockets)))

    async def close(self) -> None:
        """End the threads."""
        await self.stop()
        await asyncio.to_thread(self.threads.shutdown)


@dataclass(frozen=True)
class _Arrived:
    """A frame as it arrived: its number on this socket, from 0, and the seconds since the socket opened."""

    sequence: int
    time_s: float
    data: bytes


class _Stream:
    """One socket that is served."""

    def __init__(self, streams: Streams, socket: WebSocket) -> None:
        self._streams, self._socket = streams, socket
        self._settings = streams.settings
        self._slot = Latest[_Arrived]()
        self._loop = asyncio.get_running_loop()
        self._received = 0
        self._told_dropped, self._told_at = 0, 0.0

    async def run(self, options: Options, first: bytes | None) -> None:
        """Receive frames until the caller disconnects.

        Raises:
            Goodbye: the service ends the stream.
        """
        began = time.monotonic()
        work: asyncio.Future[None] = self._loop.run_in_executor(self._streams.threads, self._analyze, options)
        work.add_done_callback(lambda _: self._slot.close())
        try:
            data: bytes | None = first
            while not work.done():
                if data is not None:
                    self._slot.put(_Arrived(self._received, time.monotonic() - began, data))
                    self._received += 1
                    self._streams.metrics.frames.labels("received").inc()
                    await self._tell_if_busy()
                data = await self._frame()
        finally:
            self._slot.close()
            self._streams.metrics.frames.labels("dropped").inc(self._slot.dropped)
            with suppress(WebSocketDisconnect):
                await work  # raises the error of the analysis, if there was one

    async def options(self) -> tuple[Options, bytes | None]:
        """Return the options of the first message, and the message itself if it is already a frame.

        Raises:
            Goodbye: the options are wrong, or the key is missing or wrong.
        """
        message = await self._receive(min(HELLO_S, self._settings.stream_idle_s))
        text, data = message.get("text"), message.get("bytes")
        try:
            options = Options.model_validate_json(text) if text is not None else Options()
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'message'}: {item['msg']}" for item in error.errors())
            raise Goodbye(
                POLICY, "usage", f"expected options first, such as the JSON object with max_faces 10, got others ({wrong})"
            ) from None
        key = key_in(self._socket.headers) or options.key
        if not opens(key, self._settings.api_keys):
            raise Goodbye(POLICY, "key", 'expected an API key; send {"key": "..."} as the first message')
        return options, self._checked(data)

    async def _frame(self) -> bytes | None:
        message = await self._receive(self._settings.stream_idle_s)
        if message.get("bytes") is None:
            raise Goodbye(POLICY, "usage", "expected a frame as a binary message, got text; options come first")
        return self._checked(message["bytes"])

    async def _receive(self, idle_s: float) -> Any:
        try:
            async with asyncio.timeout(idle_s):
                message = await self._socket.receive()
        except TimeoutError:
            raise Goodbye(POLICY, "idle", f"no frame for {idle_s:g} s; open the socket again when there are some") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        return message

    def _checked(self, data: bytes | None) -> bytes | None:
        most = self._settings.max_frame_bytes
        if data is not None and len(data) > most:
            raise Goodbye(TOO_BIG, "too_large", f"expected frames of at most {most:,} bytes, got {len(data):,}; send smaller pictures")
        return data

    async def _tell_if_busy(self) -> None:
        dropped, now = self._slot.dropped, time.monotonic()
        if dropped > self._told_dropped and now - self._told_at >= BUSY_EVERY_S:
            self._told_dropped, self._told_at = dropped, now
            await _send(self._socket, {"type": "busy", "dropped": dropped})

    def _analyze(self, options: Options) -> None:
        """Answer the frames one by one until the slot is closed; runs in its own thread."""
        most = min(options.max_faces or self._settings.max_faces, self._settings.max_faces)
        results = self._streams.pipeline.stream(self._frames(), live=True, max_faces=most, smoothing_s=options.smoothing_s)
        with closing(results):
            for result in results:
                self._tell({"type": "result", **result.to_dict(), "sequence": result.frame_index, "dropped": self._slot.dropped})
                self._streams.metrics.frames.labels("analysed").inc()

    def _frames(self) -> Iterator[VideoFrame]:
        limits = ReadLimits(max_bytes=self._settings.max_frame_bytes, max_pixels=self._settings.max_pixels)
        while arrived := self._slot.take():
            try:
                frame_rgb = read_photo(arrived.data, limits=limits).frame_rgb
            except MediaError as error:
                body = error_body(error.code, sentence(error), self._socket.scope["mien.id"])
                self._tell({"type": "error", **body, "sequence": arrived.sequence, "dropped": self._slot.dropped})
                continue
            yield VideoFrame(arrived.sequence, arrived.time_s, frame_rgb)

    def _tell(self, message: dict[str, Any]) -> None:
        """Send a message from the analysing thread, and wait until the caller has room for it."""
        asyncio.run_coroutine_threadsafe(_send(self._socket, message), self._loop).result()


async def _send(socket: WebSocket, message: dict[str, Any]) -> None:
    if socket.application_state is not WebSocketState.CONNECTED or socket.client_state is not WebSocketState.CONNECTED:
        raise WebSocketDisconnect(1006)
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await socket.send_text(json.dumps(message, allow_nan=False))
    except (TimeoutError, RuntimeError):  # RuntimeError: the socket was closed meanwhile
        raise WebSocketDisconnect(1006) from None


async def _close(socket: WebSocket, code: int) -> None:
    with suppress(RuntimeError, WebSocketDisconnect):
        if socket.application_state is WebSocketState.CONNECTED:
            await socket.close(code)
