"""The list of models, and their files."""

import hashlib
import json

import httpx
import pytest

from mien.bundles import open_bundle
from mien.contract import InputSpec
from mien.pipeline import Pipeline
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
