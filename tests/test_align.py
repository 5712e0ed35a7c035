import numpy as np
import pytest
from PIL import Image

from mien.align import chip
from mien.contract import InputSpec, template_for
from mien.geometry import transform
from tests.support import POINTS

SPEC = InputSpec("tiny", "1.0")


def _face(side=48):
    """A smooth picture that is different everywhere, so that every shift and turn shows."""
    y, x = np.mgrid[:side, :side] * (np.pi / side)
    grey = 128 + 60 * np.sin(3 * x + y) + 50 * np.cos(2 * y)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, -1)


def test_a_fer2013_crop_is_its_own_chip():
    face = _face()
    assert np.abs(chip(face, POINTS, SPEC).astype(int) - face[..., 0]).max() <= 1


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7, 3.0, 6.5, 20.0])
@pytest.mark.parametrize("roll_deg", [0, 15, -40, 180])
def test_a_face_of_any_size_and_roll_comes_back_upright(scale, roll_deg):
    face = Image.fromarray(_face()).resize((round(48 * scale),) * 2, Image.Resampling.BICUBIC)
    side = int(48 * scale * 1.6) + 8
    paste = Image.new("RGB", (side, side), (90, 90, 90))
    corner = (side - face.width) // 2
    paste.paste(face, (corner, corner))
    turned = paste.rotate(-roll_deg, Image.Resampling.BICUBIC, fillcolor=(90, 90, 90))
    angle, centre = np.deg2rad(roll_deg), side / 2
    points = np.array(POINTS) * (face.width / 48) + corner - centre
    points = transform([[np.cos(angle), -np.sin(angle), centre], [np.sin(angle), np.cos(angle), centre]], points)
    got = chip(np.asarray(turned), points, SPEC).astype(float)
    error = np.abs(got - _face()[..., 0])[4:-4, 4:-4].mean()
    assert error < (6 if scale < 1 else 2.5)


def test_large_faces_are_averaged_not_sampled():
    """One pixel in eight of a fine grid would give black or white; a mean gives grey."""
    grid = np.zeros((480, 480, 3), np.uint8)
    grid[::2, ::2] = grid[1::2, 1::2] = 255
    got = chip(grid, np.array(POINTS) * 10, SPEC)
    assert abs(got.astype(float).mean() - 127.5) < 3
    assert got.std() < 3


@pytest.mark.parametrize(
    ("dx", "dy"),
    [
        pytest.param(-20, 0, id="over-the-left-edge"),
        pytest.param(0, -20, id="over-the-top"),
        pytest.param(20, 20, id="over-the-corner"),
        pytest.param(-500, 300, id="wholly-outside"),
    ],
)
def test_outside_the_frame_the_edge_goes_on(dx, dy):
    frame = np.full((48, 48, 3), 77, np.uint8)
    assert (chip(frame, np.array(POINTS) + np.array((dx, dy)), SPEC) == 77).all()


def test_colour_and_size_follow_the_spec():
    spec = SPEC.updated(chip_size=96, channels=3, template=template_for(96))
    got = chip(np.full((60, 60, 3), (200, 10, 30), np.uint8), POINTS, spec)
    assert got.shape == (96, 96, 3)
    assert (got == (200, 10, 30)).all()


@pytest.mark.parametrize("points", [[(5, 5)] * 5, [(np.nan, 1)] * 5], ids=["one-point", "nan"])
def test_impossible_landmarks_are_refused(points):
    with pytest.raises(ValueError, match=r"coincide|finite"):
        chip(_face(), points, SPEC)
