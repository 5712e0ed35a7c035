import numpy as np
import pytest

from mien.contract import LABELS
from mien.draw import Closeup, add_closeups, annotate, colour_of
from mien.results import Emotions, Face, FrameResult, ModelRef

E = Emotions(LABELS, (0.02, 0.02, 0.02, 0.9, 0.02, 0.01, 0.01))


def _face(x, y, side, uncertain=False):
    return Face((x, y, x + side, y + side), 0.9, ((x, y),) * 5, E, uncertain)


def _result(width, height, *faces):
    return FrameResult("a.jpg", width, height, faces, ModelRef("tiny", "1"))


@pytest.mark.parametrize(
    ("size_wh", "faces"),
    [
        pytest.param((640, 480), [_face(200, 150, 120)], id="one"),
        pytest.param((640, 480), [_face(0, 0, 640)], id="whole-frame"),
        pytest.param((640, 480), [_face(-50, -50, 100), _face(600, 440, 90)], id="over-the-edges"),
        pytest.param((640, 480), [_face(40 * i, 30 * i, 60) for i in range(12)], id="crowd"),
        pytest.param((1, 1), [_face(0, 0, 1)], id="one-pixel"),
        pytest.param((20, 2000), [_face(2, 900, 15, uncertain=True)], id="thin"),
        pytest.param((640, 480), [], id="none"),
    ],
)
@pytest.mark.parametrize("level", [0, 255], ids=["dark", "light"])
def test_every_frame_can_be_drawn(size_wh, faces, level):
    width, height = size_wh
    frame = np.full((height, width, 3), level, np.uint8)
    drawn = annotate(frame, _result(width, height, *faces))
    assert drawn.shape == frame.shape
    assert drawn.dtype == np.uint8
    assert (frame == level).all(), "the frame itself is not touched"
    if width > 1:
        assert (drawn != frame).any()


@pytest.mark.parametrize("level", [0, 128, 255], ids=["dark", "grey", "light"])
def test_text_stands_out_on_any_photo(level):
    drawn = annotate(np.full((480, 640, 3), level, np.uint8), _result(640, 480, _face(200, 200, 150))).astype(int)
    label = drawn[165:198, 205:330].mean(-1)
    assert label.max() - label.min() > 150


def test_charts_never_cover_a_face():
    faces = [_face(100, 150, 120), _face(260, 150, 120), _face(420, 150, 120)]
    plain = np.full((480, 640, 3), 255, np.uint8)
    drawn = annotate(plain, _result(640, 480, *faces))
    for face in faces:
        x0, y0, x1, y1 = (int(v) for v in face.box_xyxy)
        assert (drawn[y0 + 20 : y1 - 20, x0 + 20 : x1 - 20] == 255).all()


def test_labels_of_other_data_sets_have_colours():
    assert colour_of("happy", LABELS) != colour_of("sad", LABELS)
    assert colour_of("calm", ("calm", "tense")) != colour_of("tense", ("calm", "tense"))


@pytest.mark.parametrize(("width", "count"), [(1200, 5), (300, 1), (1, 2)], ids=["rows", "narrow", "thin"])
def test_closeups_stand_below_the_picture_with_what_their_colours_mean(width, count):
    picture = np.full((100, width, 3), 7, np.uint8)
    plain, marked, legend = (200, 10, 10), (10, 200, 10), (10, 10, 200)
    faces = [Closeup(np.full((30, 20, 3), plain, np.uint8), np.full((30, 20, 3), marked, np.uint8), "#1", "mouth")] * count
    sheet = add_closeups(picture, faces, [(legend, "what it means")])
    left = (sheet.shape[1] - width) // 2
    assert (sheet[:100, left : left + width] == picture).all()
    below = sheet[100:]
    pixels = {colour: int((below == colour).all(-1).sum()) for colour in (plain, marked, legend)}
    assert pixels[plain] == pixels[marked] >= count * 10_000
    assert pixels[legend] > 100
