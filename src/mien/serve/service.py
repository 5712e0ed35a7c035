"""What all routes share while the service runs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.media.images import ReadLimits
from mien.pipeline import Pipeline
from mien.serve.guard.gate import Gate
from mien.serve.metrics import Metrics
from mien.serve.settings import Settings
from mien.serve.work.batcher import Batcher
from mien.serve.work.jobs import Jobs
from mien.serve.work.live import Streams
from mien.serve.work.memory import give_back

SWEEP_EVERY_S = 10.0  # finished videos and freed memory are looked at so often


@dataclass
class Service:
    """One running service: its settings, its warm pipeline, and who is at work."""

    settings: Settings
    gate: Gate
    metrics: Metrics
    batcher: Batcher
    streams: Streams
    jobs: Jobs
    _sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work; called inside the event loop."""
        self.batcher.start()
        self._sweeper = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_EVERY_S, self.settings.job_ttl_s))
            await asyncio.to_thread(self.jobs.sweep)
            await asyncio.to_thread(give_back)

    @property
    def pipeline(self) -> Pipeline:
        """The warm models."""
        return self.batcher.pipeline

    async def stop(self) -> None:
        """Take no more requests, and tell those who watch or wait for long."""
        self.gate.stopping = True
        self.jobs.stop()
        await self.streams.stop()

    async def close(self) -> None:
        """End all threads and leave no file behind."""
        await self.stop()
        if self._sweeper:
            self._sweeper.cancel()
        await self.streams.close()
        await asyncio.to_thread(self.jobs.close)
        await self.batcher.close()


def load_pipeline(settings: Settings) -> Pipeline:
    """Return the pipeline that the settings describe.

    Raises:
        BundleError, DetectorError: the model or detector cannot be had.
    """
    cores = os.cpu_count() or 1
    # Searching keeps every core busy; a classifier that takes them all as well would only wait for them, spinning.
    classifier = Classifier(open_bundle(settings.model), threads=settings.model_threads or max(1, cores // 4))
    limits = ReadLimits(max_bytes=settings.max_bytes, max_pixels=settings.max_pixels, timeout_s=settings.url_timeout_s)
    return Pipeline(classifier=classifier, detector=settings.detector, min_face=settings.min_face, limits=limits)


def _service(connection: HTTPConnection) -> Service:
    service: Service = connection.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]
