"""The models' list and files, health, metrics and the documentation."""

import hashlib
import json
import re

import httpx
import pytest

from mien.bundles import open_bundle
from mien.contract import InputSpec
from mien.pipeline import Pipeline
from tests.media.pictures import corners
from tests.serve.running import running
from tests.support import tiny_bundle


def test_the_list_names_the_model_that_answers(http):
    (model,) = http.get("/v1/models").json()["models"]
    spec = open_bundle().spec
    assert (model["name"], model["version"], model["sha256"]) == (spec.name, spec.version, spec.model_sha256)
    assert model["labels"] == list(spec.labels)
    assert (model["chip_size"], model["uncertain_below"]) == (spec.chip_size, spec.uncertain_below)


def test_its_files_are_the_bundle_and_are_sent_once(http, tmp_path):
    (model,) = http.get("/v1/models").json()["models"]
    weights = http.get(model["links"]["model"])
    assert hashlib.sha256(weights.content).hexdigest() == model["sha256"]
    again = http.get(model["links"]["model"], headers={"If-None-Match": weights.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    (tmp_path / "spec.json").write_bytes(http.get(model["links"]["spec"]).content)
    assert InputSpec.read(tmp_path / "spec.json") == open_bundle().spec


def test_a_calibrated_spec_is_sent_again(tmp_path):
    bundle = tiny_bundle(tmp_path / "tiny")
    with running(Pipeline(model=bundle.folder)) as address, httpx.Client(base_url=address) as http:
        first = http.get("/v1/models/tiny/spec.json")
        spec = json.loads((bundle.folder / "spec.json").read_text())
        (bundle.folder / "spec.json").write_text(json.dumps({**spec, "temperature": 2.0}))
        again = http.get("/v1/models/tiny/spec.json", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.json()["temperature"]) == (200, 2.0)


@pytest.mark.parametrize("path", ["/v1/models/other/model.onnx", "/v1/models/..%2f..%2fdefault/spec.json", "/v1/models/compact/card.md"])
def test_no_other_file_is_served(http, path):
    assert http.get(httpx.URL(str(http.base_url).rstrip("/") + path)).status_code == 404


def test_metrics_count_what_was_done(http, portrait):
    def count(name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", http.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    answered, faces = 'mien_requests_total{route="/v1/analyze",status="200"}', "mien_faces_total"
    before = count(answered), count(faces)
    http.post("/v1/analyze", content=portrait)
    http.post("/v1/analyze", content=corners("PNG"))
    assert (count(answered), count(faces)) == (before[0] + 2, before[1] + 1)


def test_health_and_readiness(http):
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}


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
