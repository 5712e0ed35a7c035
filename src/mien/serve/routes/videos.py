"""``/v1/video``: a video in; its progress, its records and its annotated copy out."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, JSONResponse, Response

from mien.serve.refusals import Refusal
from mien.serve.routes.schemas import BUSY, ERRORS, FORM_OF_ONE, ErrorAnswer
from mien.serve.routes.schemas import Job as JobSchema
from mien.serve.routes.uploads import BodyLimits, FileStart, file_events, is_multipart
from mien.serve.service import Service, TheService
from mien.serve.work.jobs import ANNOTATED, RESULT, UPLOAD, Job
from mien.serve.work.uploaded_video import check_video

router = APIRouter(tags=["videos"])
WRITE_BYTES = 2**20  # collected before they are written to the disk
NO_ROOM = 507
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
log = logging.getLogger("mien.serve")


@router.post(
    "/v1/video",
    status_code=202,
    summary="Send a video",
    response_model=JobSchema,
    responses={**ERRORS, **BUSY, NO_ROOM: {"model": ErrorAnswer, "description": "The service's disk is full."}},
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": FORM_OF_ONE}}},
)
async def hand_in(
    request: Request,
    service: TheService,
    every: Annotated[float | None, Query(gt=0, le=3600, description="Analyse one frame per this many seconds. Default: all.")] = None,
    annotated: Annotated[bool, Query(description="Also write a copy with the results drawn into it.")] = False,
) -> JSONResponse:
    """The video is checked at once and analysed in the background. The answer says where to ask for its state."""
    if not is_multipart(request):
        raise Refusal(415, "unsupported_media", "expected a multipart form; curl sends one with -F file=@clip.mp4")
    with service.gate.slot(), service.jobs.place(), _room(), service.jobs.new_folder() as folder:
        name = await _save(request, folder / UPLOAD, service)
        await asyncio.to_thread(check_video, folder / UPLOAD, name, service.settings)
        job = await asyncio.to_thread(service.jobs.accept, folder, name, every, annotated)
    return JSONResponse(job.to_dict(), 202, headers={"Location": f"/v1/video/{job.order.id}"})


@router.get("/v1/video/{job_id}", summary="State and progress of a video", response_model=JobSchema, responses=ERRORS)
async def state(job_id: str, service: TheService) -> dict[str, Any]:
    """The states are queued and running, then done, failed or cancelled."""
    return _job(job_id, service).to_dict()


@router.get(
    "/v1/video/{job_id}/result",
    summary="The records of a video",
    response_class=Response,
    responses={**ERRORS, 200: {"content": {"application/x-ndjson": {}}}},
)
async def result(job_id: str, service: TheService) -> FileResponse:
    """One record per line. If the video breaks off, the records before that and an error record."""
    return FileResponse(_finished(_job(job_id, service), RESULT), media_type="application/x-ndjson")


@router.get(
    "/v1/video/{job_id}/annotated.mp4",
    summary="The video with boxes and labels",
    response_class=Response,
    responses={**ERRORS, 200: {"content": {"video/mp4": {}}}},
)
async def annotated(job_id: str, service: TheService) -> FileResponse:
    """Supports range requests, which video players use."""
    return FileResponse(_finished(_job(job_id, service), ANNOTATED), media_type="video/mp4")


@router.delete("/v1/video/{job_id}", status_code=204, summary="Cancel a video and remove all its files", responses=ERRORS)
async def remove(job_id: str, service: TheService) -> Response:
    """All files of the video are removed before the answer; a running analysis ends after its current frame."""
    await asyncio.to_thread(service.jobs.remove, _job(job_id, service))
    return Response(status_code=204)


async def _save(request: Request, path: Path, service: Service) -> str:
    """Write the only file of the form to ``path`` while it arrives, and return its name."""
    settings = service.settings
    limits = BodyLimits(settings.max_video_bytes + WRITE_BYTES, settings.max_video_bytes, 1, settings.video_body_timeout_s)
    name, gathered = "", bytearray()
    with path.open("wb") as file:
        async for event in file_events(request, limits):
            match event:
                case FileStart():
                    name = event.name
                case Refusal():
                    raise event
                case _:
                    gathered += event
            if len(gathered) >= WRITE_BYTES:
                await asyncio.to_thread(_write, file, bytes(gathered))
                gathered.clear()
        await asyncio.to_thread(_write, file, bytes(gathered))
    return name


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)


@contextmanager
def _room() -> Iterator[None]:
    """Refuse the video if the disk is full, whichever write fails."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        log.error("a video could not be kept: %s", error.strerror)
        raise Refusal(NO_ROOM, "no_room", "the service has no room for this video; send a smaller one, or try again later") from None


def _job(job_id: str, service: Service) -> Job:
    job = service.jobs.get(job_id)
    if job is None:
        raise Refusal(404, "not_found", "no such video here; it was removed, its time is over, or the service was restarted")
    return job


def _finished(job: Job, name: str) -> Path:
    if job.is_open:
        raise Refusal(409, "not_ready", "the video is still being analysed; ask for its state first")
    if not job.file(name).is_file():
        raise Refusal(404, "not_found", "this video has no such result; annotated=true asks for the annotated one")
    return job.file(name)
