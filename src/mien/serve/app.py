"""Builds the application from its settings and a pipeline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from mien.errors import MienError
from mien.pipeline import Pipeline
from mien.serve import refusals
from mien.serve.guard.gate import Gate
from mien.serve.guard.middleware import Guard
from mien.serve.metrics import Metrics
from mien.serve.routes import health, models, pages, photos, streams, videos
from mien.serve.service import Service, load_pipeline
from mien.serve.settings import Settings
from mien.serve.work.batcher import Batcher
from mien.serve.work.jobs import Jobs
from mien.serve.work.live import Streams
from mien.version import __version__

ABOUT = (
    "Faces in photos, videos and live frames, and the expression of each *as annotators would label it*, never what a person feels. "
    "Not for decisions about people: inferring emotions at work and in education is prohibited in the EU (AI Act, Art. 5(1)(f))."
)


def create_app(settings: Settings | None = None, pipeline: Pipeline | None = None) -> FastAPI:
    """Return the service as an ASGI application. The models load when it starts, not in this call.

    Args:
        settings: limits, keys and other options; read from the environment if None.
        pipeline: analyses the pictures; built from the settings if None.
    """
    settings = settings or Settings()
    gate, metrics = Gate(settings.max_in_flight), Metrics()

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        try:
            service = app.state.service = await asyncio.to_thread(_start, settings, pipeline, gate, metrics)
        except MienError as error:
            app.state.failure = error  # for the command, which prints it in one line
            raise
        service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(title="Mien", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, lifespan=running)
    app.state.gate = gate
    for part in (photos, videos, models):
        app.include_router(part.router, dependencies=[Depends(refusals.known_keys)])
    for part in (streams, health):
        app.include_router(part.router)
    pages.mount(app)
    refusals.install(app)
    app.add_middleware(Guard, settings=settings, gate=gate, metrics=metrics)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            expose_headers=["Retry-After", "X-Request-Id"],
        )
    return app


def _start(settings: Settings, pipeline: Pipeline | None, gate: Gate, metrics: Metrics) -> Service:
    """Return the running service with its models loaded."""
    warm = pipeline or load_pipeline(settings)
    workers = settings.workers or os.cpu_count() or 1
    wait_s = settings.batch_wait_ms / 1000
    batcher = Batcher(warm, workers=workers, batch_wait_s=wait_s, max_batch=settings.max_batch, on_batch=metrics.on_batch)
    return Service(settings, gate, metrics, batcher, Streams(warm, settings, metrics), Jobs(warm, settings, metrics))
