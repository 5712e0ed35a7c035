"""One real service for all tests that change none of its settings."""

import httpx
import numpy as np
import pytest
from PIL import Image

from mien.assets import demo_photo
from mien.pipeline import Pipeline
from tests.media.clips import write_clip
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


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    with Image.open(demo_photo()) as photo:
        face = np.asarray(photo.crop((120, 20, 330, 180)).convert("RGB"))
    return write_clip(tmp_path_factory.mktemp("clips") / "talk.mp4", [face] * 12, sound="aac")


@pytest.fixture
def temp_root(tmp_path, monkeypatch):
    """A folder for temporary files of this test alone."""
    root = tmp_path / "tmp"
    root.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(root))
    return root
