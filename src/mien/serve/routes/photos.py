"""``POST /v1/analyze``: photos in, one record per photo out."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from mien.errors import MediaError
from mien.media.fetch import fetch
from mien.media.sources import Source
from mien.results import ErrorResult
from mien.serve.refusals import Refusal, sentence
from mien.serve.routes.schemas import BUSY, ERRORS, FILE, FORM_OF_MANY, Frame, Results
from mien.serve.routes.uploads import BodyLimits, Upload, check_is_image, is_multipart, read_body, read_files
from mien.serve.service import Service, TheService
from mien.serve.settings import Settings
from mien.serve.work.explanations import explanations

router = APIRouter(tags=["photos"])
IMAGE = {"schema": FILE}
BODY: dict[str, Any] = {
    "requestBody": {"content": {"image/jpeg": IMAGE, "image/png": IMAGE, "image/webp": IMAGE, "multipart/form-data": FORM_OF_MANY}}
}


@router.post(
    "/v1/analyze",
    summary="Find the faces of photos and their expressions",
    response_model=Frame | Results,
    responses={**ERRORS, **BUSY},
    openapi_extra=BODY,
)
async def analyze(
    request: Request,
    service: TheService,
    max_faces: Annotated[int | None, Query(ge=1, le=10_000, description="Report no more faces than this, the largest ones.")] = None,
    explain: Annotated[bool, Query(description="Add an explanation to each face; this takes about one second per face.")] = False,
    url: Annotated[str | None, Query(max_length=2048, description="Download the picture from here, if the service allows it.")] = None,
) -> JSONResponse:
    """Send one picture as the body to get one record, or a form with several files to get a list of records in the same order.

    A photo without faces gives a record with an empty list of faces. A file of a form that cannot be read, or that is too large, gives an
    error record in the list.
    """
    settings = service.settings
    most = min(max_faces or settings.max_faces, settings.max_faces)
    limits = BodyLimits(settings.max_body_bytes, settings.max_bytes, settings.max_files, settings.body_timeout_s)
    with service.gate.slot():
        if url is not None:
            return JSONResponse(await _record(service, await _fetched(url, settings), most, explain))
        if is_multipart(request):
            uploads = await read_files(request, limits)
            return JSONResponse({"results": await asyncio.gather(*(_attempt(service, upload, most, explain) for upload in uploads))})
        check_is_image(request)
        photo = Source("<upload>", await read_body(request, limits))
        return JSONResponse(await _record(service, photo, most, explain))


async def _record(service: Service, photo: Source, most: int, explain: bool) -> dict[str, Any]:
    batcher = service.batcher
    if not explain:
        return (await batcher.analyze(photo, max_faces=most))[0].to_dict()
    async with batcher.long_work:  # held until the pixels of the photo are freed
        result, prepared = await batcher.analyze(photo, max_faces=most, keep_frame=True)
        told = await batcher.run(explanations, service.pipeline.classifier, prepared, result, service.settings.max_explained)
    record = result.to_dict()
    for face, explanation in zip(record["faces"], told, strict=True):
        face["explanation"] = explanation
    return record


async def _attempt(service: Service, upload: Upload, most: int, explain: bool) -> dict[str, Any]:
    if upload.refusal:
        return ErrorResult(upload.name, upload.refusal.code, upload.refusal.message).to_dict()
    try:
        return await _record(service, Source(upload.name, upload.data), most, explain)
    except MediaError as error:
        return ErrorResult(upload.name, error.code, sentence(error)).to_dict()


async def _fetched(url: str, settings: Settings) -> Source:
    if not settings.allow_url:
        raise Refusal(403, "url_disabled", "this service fetches nothing; send the picture itself")
    data = await run_in_threadpool(
        fetch, url, max_bytes=settings.max_bytes, timeout_s=settings.url_timeout_s, max_redirects=3, public_only=True
    )
    return Source(url, data)
