"""``GET /v1/models``: the model that answers, and its files for clients that run it themselves."""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from mien.bundles import MODEL_FILE, SPEC_FILE
from mien.serve.refusals import Refusal
from mien.serve.routes.schemas import ERRORS, Models
from mien.serve.service import Service, TheService

router = APIRouter(tags=["models"])
FILES = {MODEL_FILE: "application/octet-stream", SPEC_FILE: "application/json"}


@router.get("/v1/models", summary="The models that answer here", response_model=Models, responses=ERRORS)
async def models(service: TheService) -> dict[str, Any]:
    """Each with its labels, its chip size, the confidence below which a face is uncertain, and its checksum."""
    spec = service.pipeline.classifier.spec
    files = {"model": MODEL_FILE, "spec": SPEC_FILE} if spec.engine == "onnx" else {"spec": SPEC_FILE}
    return {
        "models": [
            {
                "name": spec.name,
                "version": spec.version,
                "labels": list(spec.labels),
                "chip_size": spec.chip_size,
                "channels": spec.channels,
                "uncertain_below": spec.uncertain_below,
                "sha256": spec.model_sha256,
                "links": {kind: f"/v1/models/{quote(spec.name)}/{file}" for kind, file in files.items()},
            }
        ]
    }


@router.get(f"/v1/models/{{name}}/{MODEL_FILE}", summary="The weights, an ONNX graph", response_class=FileResponse, responses=ERRORS)
async def model_file(name: str, request: Request, service: TheService) -> Response:
    """The graph takes chips as described in spec.json and returns logits."""
    return _file(name, MODEL_FILE, request, service)


@router.get(f"/v1/models/{{name}}/{SPEC_FILE}", summary="The model's contract", response_class=FileResponse, responses=ERRORS)
async def spec_file(name: str, request: Request, service: TheService) -> Response:
    """Chip size, template points, labels, temperature, threshold."""
    return _file(name, SPEC_FILE, request, service)


def _file(name: str, file: str, request: Request, service: Service) -> Response:
    classifier = service.pipeline.classifier
    if name != classifier.spec.name or (file == MODEL_FILE and classifier.spec.engine != "onnx"):
        raise Refusal(404, "not_found", "no such model here; /v1/models lists those that are")
    # A browser keeps the file but asks each time whether it is still the same.
    if file == SPEC_FILE and classifier.spec.weights_of:  # the two files that are downloaded are a bundle of their own
        return Response(classifier.spec.updated(weights_of="").to_json(), media_type=FILES[file])
    path = classifier.bundle.model_path if file == MODEL_FILE else classifier.bundle.folder / file
    mark = sha256(path.read_bytes()).hexdigest() if file == SPEC_FILE else classifier.spec.model_sha256  # calibrating changes only the spec
    headers = {"Cache-Control": "private, no-cache", "ETag": f'"{mark[:32]}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type=FILES[file], headers=headers)
