"""Files damaged by chance: whatever the bytes are, a photo or an error of one line comes back."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.errors import MediaError
from mien.media.images import FORMATS, ReadLimits, read_photo
from tests.media.pictures import corners, frames, turned
from tests.media.test_images import JPEG, LOSSLESS, grey16

SEEDS = [JPEG, *LOSSLESS.values(), frames("GIF", 3), frames("WEBP", 2), frames("TIFF", 2), turned(6), grey16("PNG"), corners("AVIF")]


def photo_or_media_error(data: bytes) -> None:
    try:
        photo = read_photo(data, limits=ReadLimits(max_pixels=1_000_000))
    except MediaError as error:
        message = str(error)
    else:
        message = "one line"
        assert photo.frame_rgb.shape[2:] == (3,)
    assert message
    assert "\n" not in message


def test_the_seeds_cover_every_format_that_needs_no_option() -> None:
    covered = {kind for kind, layout in FORMATS.items() if any(re.match(layout.magic, data, re.DOTALL) for data in SEEDS)}
    assert covered == set(FORMATS) - {"HEIF"}


@settings(max_examples=150, deadline=None)
@given(magic=st.sampled_from([b"", *{data[:12] for data in SEEDS}]), tail=st.binary(max_size=300))
def test_random_bytes_are_a_photo_or_a_media_error(magic: bytes, tail: bytes) -> None:
    photo_or_media_error(magic + tail)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.sampled_from(SEEDS), draw=st.data())
def test_damaged_files_are_a_photo_or_a_media_error(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 8), label="bytes changed")):
        damaged[draw.draw(st.integers(0, len(data) - 1), label="at")] = draw.draw(st.integers(0, 255), label="value")
    photo_or_media_error(bytes(damaged[: draw.draw(st.integers(0, len(data)), label="kept")]))
    photo_or_media_error(bytes(damaged))
