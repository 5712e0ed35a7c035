"""What a browser opens: the page, its files and the documentation."""

import re

import httpx
import pytest


def test_the_documentation_needs_nothing_from_elsewhere(http):
    page = http.get("/docs").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert addresses
    for address in addresses:
        assert address.startswith("/")
        assert http.get(address).status_code == 200
    assert "<script>" not in page  # the content policy would not run it


def test_the_description_has_examples_and_every_route(http):
    description = http.get("/openapi.json").json()
    assert {"/v1/analyze", "/v1/video", "/v1/video/{job_id}", "/v1/models", "/healthz", "/readyz", "/metrics"} <= set(description["paths"])
    frame = description["components"]["schemas"]["Frame"]["examples"][0]
    assert frame["faces"][0]["top"] == "happy"


@pytest.mark.parametrize(
    "path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/..%2fapp.py", "/runtime/..%2f..%2fx"]
)
def test_files_beside_the_page_are_not_served(http, path):
    answer = http.get(httpx.URL(str(http.base_url).rstrip("/") + path))
    assert answer.status_code == 404
    assert "create_app" not in answer.text
