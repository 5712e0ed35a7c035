"""The state that all routes share while the service runs."""

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

SWEEP_EVERY_S = 10.0  # time between two clean-ups of finished videos and freed memory


@dataclass
class Service:
    """One running service: its settings, its loaded pipeline, and the parts that do the work."""

    settings: Settings
    gate: Gate
    metrics: Metrics
    batcher: Batcher
    streams: Streams
    jobs: Jobs
    _sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the background work. Call it inside the event loop."""
        self.batcher.start()
        self._sweeper = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_EVERY_S, self.settings.job_ttl_s))
            await asyncio.to_thread(self.jobs.sweep)
            await asyncio.to_thread(give_back)

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline with its loaded models."""
        return self.batcher.pipeline

    async def stop(self) -> None:
        """Accept no more requests, and tell the callers of live streams and videos that the service stops."""
        self.gate.stopping = True
        self.jobs.stop()
        await self.streams.stop()

    async def close(self) -> None:
        """End all threads and remove all temporary files."""
        await self.stop()
        if self._sweeper:
            self._sweeper.cancel()
        await self.streams.close()
        await asyncio.to_thread(self.jobs.close)
        await self.batcher.close()


def load_pipeline(settings: Settings) -> Pipeline:
    """Return the pipeline that the settings describe.

    Raises:
        BundleError, DetectorError: the model or the detector cannot be loaded.
    """
    cores = os.cpu_count() or 1
    # Detection keeps every core busy. A classifier with as many threads would only wait in a busy loop.
    classifier = Classifier(open_bundle(settings.model), threads=settings.model_threads or max(1, cores // 4))
    limits = ReadLimits(max_bytes=settings.max_bytes, max_pixels=settings.max_pixels, timeout_s=settings.url_timeout_s)
    return Pipeline(classifier=classifier, detector=settings.detector, min_face=settings.min_face, limits=limits)


def _service(connection: HTTPConnection) -> Service:
    service: Service = connection.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]
