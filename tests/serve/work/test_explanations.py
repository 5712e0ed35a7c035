"""Explanations of the first faces of a photo, as the service sends them."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mien.pipeline import Pipeline
from mien.serve.work.explanations import MAX_SIDE, explanations
from tests.support import ToldDetector, detection, tiny_bundle


@pytest.fixture
def tiny(tmp_path):
    return Pipeline(model=tiny_bundle(tmp_path / "tiny").folder, detector=ToldDetector((detection(0, 0, 2), detection(150, 20))))


def explained(pipeline, most, keep_frame=True):
    photo = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    prepared = pipeline.prepare(photo, keep_frame=keep_frame)
    (result,) = pipeline.finish([prepared])
    return result, explanations(pipeline.classifier, prepared, result, most)


def test_only_the_first_faces_are_explained(tiny):
    result, (first, second) = explained(tiny, most=1)
    assert second is None
    assert first["label"] == result.faces[0].top
    assert set(first) == {"label", "png", "box_xyxy", "parts", "strongest"}
    x0, y0, x1, y1 = first["box_xyxy"]
    with Image.open(io.BytesIO(base64.b64decode(first["png"]))) as picture:
        assert picture.format == "PNG"
        assert picture.size == (x1 - x0, y1 - y0)  # small enough to be sent as it is
        assert max(picture.size) <= MAX_SIDE
    assert sum(first["parts"].values()) in (pytest.approx(0), pytest.approx(1))


def test_without_the_pixels_nothing_is_explained(tiny):
    _, told = explained(tiny, most=2, keep_frame=False)
    assert told == [None, None]
