"""``WS /v1/stream``: frames in, results with track ids out."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.websockets import WebSocket

from mien.serve.work.live import Streams

router = APIRouter()


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """Receive JPEG or WebP frames as binary messages and answer with results as text; docs/service.md describes the protocol."""
    streams: Streams = socket.app.state.service.streams
    await streams.serve(socket)
