"""``/healthz``, ``/readyz`` and ``/metrics``: for operators and monitoring."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from mien.serve.refusals import busy
from mien.serve.routes.schemas import BUSY, State
from mien.serve.service import TheService

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process is alive", response_model=State)
async def healthz() -> dict[str, str]:
    """Always "ok"; a process that is not alive does not answer."""
    return {"status": "ok"}


@router.get("/readyz", summary="The models are loaded and requests are accepted", response_model=State, responses=BUSY)
async def readyz(service: TheService) -> dict[str, str]:
    """Returns 503 after the service was asked to stop."""
    if service.gate.stopping:
        raise busy("the service is stopping")
    return {"status": "ready"}


@router.get(
    "/metrics", summary="Counters and times for Prometheus", response_class=Response, responses={200: {"content": {"text/plain": {}}}}
)
async def metrics(service: TheService) -> Response:
    """Counters and times of requests, faces, batches, streams and videos."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
