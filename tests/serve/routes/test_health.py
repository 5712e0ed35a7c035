"""Health, readiness and metrics."""

import re

from tests.media.pictures import corners


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
