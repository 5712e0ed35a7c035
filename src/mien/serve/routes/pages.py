"""What a browser opens: the page, the runtime of its private mode, and the documentation. All files come from this machine."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from mien.detect.yunet import FACE_DETECTOR
from mien.serve.browser_runtime import runtime_folder
from mien.serve.guard.middleware import DOCS_POLICY
from mien.serve.refusals import Refusal

PAGE = Path(__file__).parent.parent / "page"
DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mien: the interface</title>
<link rel="icon" href="/page/icon.svg">
<link rel="stylesheet" href="/docs/files/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/files/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
DOCS_START = 'SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });\n'

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    """The page. It is small and changes with the package, so browsers ask for it each time."""
    return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})


@router.get("/runtime/{name}")
async def runtime(name: str) -> FileResponse:
    """One file of the runtime that ``mien web install-runtime`` downloaded."""
    folder = runtime_folder()
    if folder is None or name not in {file.name for file in folder.iterdir() if file.is_file()}:
        raise Refusal(404, "not_found", "the browser's runtime is not installed here; run: mien web install-runtime")
    return FileResponse(folder / name, headers={"Cache-Control": "private, max-age=86400"})


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Swagger UI, without a content delivery network."""
    return HTMLResponse(DOCS, headers={"Content-Security-Policy": DOCS_POLICY})


@router.get("/docs/start.js")
async def docs_start() -> Response:
    """The script that starts Swagger UI; the content policy allows no script inside the page."""
    return Response(DOCS_START, media_type="text/javascript")


def mount(app: FastAPI) -> None:
    """Add the routes and the folders of static files."""
    app.include_router(router)
    app.mount("/docs/files", StaticFiles(directory=str(files("fastapi_offline") / "static")))
    app.mount("/page/detector", _Page(directory=FACE_DETECTOR.parent))
    app.mount("/page", _Page(directory=PAGE))


class _Page(StaticFiles):
    """Static files that a browser stores, but checks for changes each time."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """Return one file."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response
