"""Analyses photos of many callers at once: one thread per core reads and detects, and faces of several callers share batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import ParamSpec, TypeVar

from mien.classify import MICRO_BATCH
from mien.media.sources import Source
from mien.pipeline import Pipeline, Prepared
from mien.results import FrameResult

P = ParamSpec("P")
T = TypeVar("T")


class Batcher:
    """Shares one pipeline between the requests of one event loop.

    Photos wait for a thread in the order of their arrival. A face waits for other faces while the classifier is busy, and then at most
    ``batch_wait_s`` longer, and only while detection still runs on other photos.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        workers: int,
        batch_wait_s: float,
        max_batch: int = MICRO_BATCH,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> None:
        """Create the threads; :meth:`start` starts the classification.

        Args:
            pipeline: analyses the photos.
            workers: number of threads that read photos and find faces.
            batch_wait_s: longest wait of a face for other faces, in seconds.
            max_batch: maximum number of faces of several photos in one batch; the faces of one photo always stay together.
            on_batch: receives the number of photos and of faces of every batch.
        """
        self.pipeline = pipeline
        self._batch_wait_s, self._max_batch, self._on_batch = batch_wait_s, max_batch, on_batch
        self._searchers = ThreadPoolExecutor(workers, thread_name_prefix="mien-search")
        self._classifier = ThreadPoolExecutor(1, thread_name_prefix="mien-classify")
        # Held during work that takes seconds and keeps a picture in memory; half of the threads stay free for other photos.
        self.long_work = asyncio.Semaphore(max(1, workers // 2))
        self._waiting: deque[tuple[Prepared, asyncio.Future[FrameResult]]] = deque()
        self._searching = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the classification. Call it inside the event loop."""
        self._task = asyncio.create_task(self._classify())

    async def close(self) -> None:
        """Stop the threads after their current work."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for pool in (self._searchers, self._classifier):
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)

    async def analyze(self, photo: Source, *, max_faces: int, keep_frame: bool = False) -> tuple[FrameResult, Prepared]:
        """Return the record of one photo with at most ``max_faces`` faces, largest first, and the prepared photo it was computed from.

        Raises:
            MediaError: the photo cannot be read.
        """
        self._searching += 1
        try:
            prepared = _largest(await self.run(self.pipeline.prepare, photo, keep_frame), max_faces)
        finally:
            self._searching -= 1
            self._news.set()
        if not prepared.faces:
            return self.pipeline.finish([prepared])[0], prepared
        result: asyncio.Future[FrameResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((prepared, result))
        self._news.set()
        return await result, prepared

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``work(...)``, computed in one of the threads that read photos and find faces."""
        return await asyncio.get_running_loop().run_in_executor(self._searchers, lambda: work(*args, **kwargs))

    async def _classify(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._batch_is_ready()
            batch = self._take()
            try:
                results = await loop.run_in_executor(self._classifier, self.pipeline.finish, [prepared for prepared, _ in batch])
            except Exception as error:  # it belongs to the waiting callers, not to this loop
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            if self._on_batch:
                self._on_batch(len(batch), sum(len(prepared.faces) for prepared, _ in batch))
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():  # the caller may have disconnected
                    future.set_result(result)

    async def _batch_is_ready(self) -> None:
        while not self._waiting:
            await self._something_new()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._batch_wait_s
        while self._searching and sum(len(prepared.faces) for prepared, _ in self._waiting) < self._max_batch and loop.time() < deadline:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._something_new()

    async def _something_new(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _take(self) -> list[tuple[Prepared, asyncio.Future[FrameResult]]]:
        batch = [self._waiting.popleft()]
        faces = len(batch[0][0].faces)
        while self._waiting and faces + len(self._waiting[0][0].faces) <= self._max_batch:
            batch.append(self._waiting.popleft())
            faces += len(batch[-1][0].faces)
        return batch


def _largest(prepared: Prepared, most: int) -> Prepared:
    """Return the photo with its ``most`` largest faces, and with a note if faces are left out."""
    if len(prepared.faces) <= most:
        return prepared
    note = f"the {most} largest of {len(prepared.faces)} faces"
    return replace(prepared, faces=prepared.faces[:most], chips=prepared.chips[:most], notes=(*prepared.notes, note))
