"""Cuts: another picture begins; light, motion and noise are none."""

import numpy as np
import pytest
from PIL import Image

from mien.assets import demo_photo
from mien.errors import UsageError
from mien.media.cuts import CutDetector


def room(seed, size_wh=(640, 360)):
    """Return a made-up picture with surfaces and things, uint8 RGB."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(40, 200, (5, 8, 3), dtype=np.uint8)).resize(size_wh, Image.Resampling.BICUBIC)
    frame = np.array(rough)
    for _ in range(25):
        x, y = rng.integers(0, size_wh[0] - 60), rng.integers(0, size_wh[1] - 60)
        frame[y : y + rng.integers(20, 60), x : x + rng.integers(20, 60)] = rng.integers(20, 230, 3)
    return frame


def portrait(x=0, y=0):
    """Return a part of the demo photo, 320x240, whose corner is at (x, y)."""
    with Image.open(demo_photo()) as photo:
        return np.asarray(photo.convert("RGB").crop((60 + x, 20 + y, 380 + x, 260 + y)))


def noisy(frame, seed, deviation=6.0):
    noise = np.random.default_rng(seed).normal(0, deviation, frame.shape)
    return np.asarray((frame + noise).clip(0, 255), np.uint8)


def lit(frame, gain, offset=0.0):
    return np.asarray((gain * frame.astype(float) + offset).clip(0, 255), np.uint8)


def cuts_of(frames):
    detector = CutDetector()
    return [number for number, frame in enumerate(frames) if detector.is_cut(frame)]


A, B = room(1), room(2)


@pytest.mark.parametrize(
    ("frames", "cuts"),
    [
        pytest.param([A] * 8 + [B] * 8, [8], id="another room"),
        pytest.param([A, B, A, B], [1, 2, 3], id="every frame another one"),
        pytest.param([lit(A, 0.3)] * 8 + [lit(B, 0.3)] * 8, [8], id="in the dark"),
        pytest.param([portrait()] * 8 + [portrait()[:, ::-1]] * 8, [8], id="the other camera of a conversation"),
        pytest.param(
            [*[A] * 5, *(lit(A, g / 10) for g in range(9, -1, -1)), *(lit(B, g / 10) for g in range(10)), B], [17], id="through black"
        ),
        pytest.param([noisy(A, i) for i in range(8)] + [noisy(B, i) for i in range(8)], [8], id="under noise"),
    ],
)
def test_where_another_picture_begins(frames, cuts):
    assert cuts_of(frames) == cuts


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([noisy(A, i, 12) for i in range(40)], id="noise"),
        pytest.param([*[A] * 5, lit(A, 1.6, 40), *[A] * 5], id="a flash"),
        pytest.param([*[A] * 5, lit(A, 4, 200), lit(A, 1.4, 50), *[A] * 5], id="a flash that bleaches the picture"),
        pytest.param([*[A] * 5, np.full_like(A, 255), *[A] * 5], id="a white frame"),
        pytest.param([lit(A, abs(g) / 10) for g in range(10, -11, -1)], id="a fade to black and back"),
        pytest.param([lit(A, 1 - g / 20, 255 * g / 20) for g in range(20)], id="a fade to white"),
        pytest.param([room(1, (1280, 360))[:, 12 * i : 12 * i + 640] for i in range(50)], id="a fast pan"),
        pytest.param([portrait(*np.random.default_rng(i).integers(0, 12, 2)) for i in range(40)], id="a shaking hand"),
        pytest.param([np.zeros_like(A)] * 10, id="black"),
        pytest.param([A, A[::2, ::2], A], id="the same in another size"),
        pytest.param([], id="nothing"),
    ],
)
def test_what_is_no_cut(frames):
    assert cuts_of(frames) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 500, 3), (1080, 1920, 3)], ids=str)
def test_frames_of_any_size(shape):
    rng = np.random.default_rng(0)
    assert len(cuts_of(rng.integers(0, 255, (3, *shape), dtype=np.uint8))) <= 3


@pytest.mark.parametrize(
    "given", [{"adaptive_threshold": 0.5}, {"window_width": 0}, {"min_change": -1}, {"min_new": 2}, {"min_change": float("nan")}], ids=str
)
def test_a_parameter_out_of_range_is_refused(given):
    (name,) = given
    with pytest.raises(UsageError, match=f"expected {name} to be"):
        CutDetector(**given)


def test_the_parameters_decide():
    half = lit(A, 0.5) // 2 * 2
    half[:120] = B[:120]  # a third of the picture is another one
    assert cuts_of([A] * 5 + [half]) == [5]
    strict = CutDetector(min_new=0.9)
    assert not any(strict.is_cut(frame) for frame in [A] * 5 + [half])
