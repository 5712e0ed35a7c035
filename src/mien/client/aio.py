"""The client for programs with ``async``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
from websockets.asyncio.client import connect

from mien.client import flows
from mien.client.flows import Answer, Call, Flow, Pause, Photo, T
from mien.client.transport import ADDRESS, answer_of, failure_of, headers_of, open_files, reaching, saving, timeout_of
from mien.results import FrameResult, Record


class AsyncClient:
    """:class:`mien.client.Client` for an event loop: the same calls, awaited."""

    def __init__(self, base_url: str = ADDRESS, *, api_key: str | None = None, timeout_s: float = 60, retries: int = 4) -> None:
        """Create a client that connects at its first call. The arguments are those of :class:`mien.client.Client`."""
        self._base_url, self._key, self._retries, self._timeout_s = base_url, api_key, retries, timeout_s
        self._http = httpx.AsyncClient(base_url=base_url, headers=headers_of(api_key), timeout=timeout_of(timeout_s))

    async def analyze(self, photo: Photo, *, max_faces: int | None = None) -> FrameResult:
        """Return the faces of one photo; see :meth:`mien.client.Client.analyze`."""
        return await self._do(flows.analyze(photo, {"max_faces": max_faces}, self._retries))

    async def analyze_many(self, photos: Sequence[Photo], *, max_faces: int | None = None) -> list[Record]:
        """Return one record per photo; see :meth:`mien.client.Client.analyze_many`."""
        return await self._do(flows.analyze_many(photos, {"max_faces": max_faces}, self._retries))

    async def video(
        self,
        path: str | Path,
        *,
        every_s: float | None = None,
        annotated: str | Path | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> list[FrameResult]:
        """Return one record per frame of a video file; see :meth:`mien.client.Client.video`."""
        copy = Path(annotated) if annotated else None
        address = await self._do(flows.hand_in(Path(path), every_s, copy, self._retries))
        try:
            return await self._do(flows.outcome(address, copy, on_progress, self._retries))
        finally:
            await self._do(flows.remove(address))

    async def models(self) -> list[dict[str, Any]]:
        """Return the models of the service, as ``/v1/models`` lists them."""
        return await self._do(flows.models(self._retries))

    async def stream(
        self, frames: AsyncIterable[bytes], *, max_faces: int | None = None, smoothing_s: float | None = None
    ) -> AsyncIterator[Record]:
        """Yield one record per frame; see :meth:`mien.client.Client.stream`."""
        async with AsyncExitStack() as stack:
            with reaching():
                socket = await stack.enter_async_context(connect(flows.live_address(self._base_url), compression=None, max_size=None))
                await socket.send(flows.live_options(self._key, max_faces, smoothing_s))
            async for frame in frames:
                with reaching():
                    await socket.send(frame)
                    record = None
                    while record is None:
                        async with asyncio.timeout(self._timeout_s):
                            record = flows.live_record(json.loads(await socket.recv()))
                yield record

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _do(self, flow: Flow[T]) -> T:
        reply: Answer | None = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                reply = None
            else:
                reply = await self._call(step)

    async def _call(self, call: Call) -> Answer:
        try:
            with ExitStack() as stack:
                files = open_files(call, stack)
                request = self._http.build_request(call.method, call.path, params=call.params, content=call.body, files=files)
                response = await self._http.send(request, stream=True)
                try:
                    if call.save_to and response.is_success:
                        with saving(call.save_to) as out:
                            async for chunk in response.aiter_bytes():
                                out.write(chunk)
                        return answer_of(response, b"")
                    return answer_of(response, await response.aread())
                finally:
                    await response.aclose()
        except httpx.TransportError as error:
            return failure_of(error)
