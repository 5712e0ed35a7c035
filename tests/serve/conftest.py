"""One real service for all tests that change none of its settings."""

import httpx
import pytest

from mien.assets import demo_photo
from mien.pipeline import Pipeline
from tests.serve.running import running


@pytest.fixture(scope="session")
def pipeline():
    return Pipeline(threads=1)


@pytest.fixture(scope="session")
def address(pipeline):
    with running(pipeline, max_bytes=1_000_000, max_body_bytes=3_000_000, max_files=4, body_timeout_s=1.0) as address:
        yield address


@pytest.fixture(scope="session")
def http(address):
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def portrait():
    return demo_photo().read_bytes()
