from __future__ import annotations

import os
import struct
import sys
import time
import tracemalloc
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from mien.errors import (
    CorruptMediaError,
    FetchError,
    MediaError,
    MienError,
    NotFoundError,
    TooLargeError,
    UnreadableError,
    UnsupportedMediaError,
    UsageError,
)
from mien.media.images import ReadLimits, read_photo
from tests.media.pictures import CORNERS, corners, encode, frames, png_of_size, turned

JPEG = corners("JPEG", quality=95)
LOSSLESS = {
    "PNG": corners("PNG"),
    "WebP": corners("WEBP", lossless=True),
    "TIFF": corners("TIFF"),
    "TIFF, compressed": corners("TIFF", compression="tiff_lzw"),
    "BMP": corners("BMP"),
    "PPM": corners("PPM"),
    "GIF": corners("GIF"),
    "JPEG 2000": corners("JPEG2000"),
}


def grey16(kind: str) -> bytes:
    return encode(Image.fromarray(np.array([[0, 255, 256, 32768, 65535]], np.uint16)), kind)


@pytest.mark.parametrize("data", LOSSLESS.values(), ids=LOSSLESS)
def test_a_lossless_file_gives_its_pixels(data: bytes) -> None:
    photo = read_photo(data)
    assert np.array_equal(photo.frame_rgb, CORNERS)
    assert photo.frame_rgb.dtype == np.uint8
    assert photo.frame_rgb.flags.c_contiguous
    assert photo.notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_a_lossy_file_gives_nearly_its_pixels(kind: str) -> None:
    difference = read_photo(corners(kind, quality=95)).frame_rgb.astype(int) - CORNERS
    assert np.abs(difference).mean() < 8


@pytest.mark.parametrize("source", [JPEG, bytearray(JPEG), memoryview(JPEG)], ids=lambda source: type(source).__name__)
def test_every_kind_of_bytes_is_read(source: bytes | bytearray | memoryview) -> None:
    assert read_photo(source).frame_rgb.shape == (24, 40, 3)


@pytest.mark.parametrize("as_text", [True, False], ids=["str", "Path"])
def test_the_content_counts_not_the_name(tmp_path: Path, as_text: bool) -> None:
    file = tmp_path / "really-a-png.jpg"
    file.write_bytes(LOSSLESS["PNG"])
    assert np.array_equal(read_photo(str(file) if as_text else file).frame_rgb, CORNERS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    data = turned(orientation, kind)
    with Image.open(BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    photo = read_photo(data)
    assert np.array_equal(photo.frame_rgb, expected)
    assert photo.frame_rgb.flags.c_contiguous
    assert photo.notes == ()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    assert read_photo(turned(orientation)).frame_rgb.shape == CORNERS.shape


PIXELS = {  # one pixel each: (reason, Pillow image, file kind, RGB expected)
    "1-bit": (Image.new("1", (1, 1), 1), "PNG", (255, 255, 255)),
    "grey": (Image.new("L", (1, 1), 77), "PNG", (77, 77, 77)),
    "grey with alpha": (Image.new("LA", (1, 1), (0, 0)), "PNG", (255, 255, 255)),
    "opaque RGBA": (Image.new("RGBA", (1, 1), (1, 2, 3, 255)), "PNG", (1, 2, 3)),
    "half transparent RGBA": (Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "PNG", (127, 127, 127)),
    "CMYK TIFF": (Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
    "palette": (Image.new("RGB", (1, 1), (9, 8, 7)).quantize(2), "PNG", (9, 8, 7)),
    "16-bit PNG, scaled": (Image.fromarray(np.array([[32768]], np.uint16)), "PNG", (128, 128, 128)),
    "16-bit TIFF, scaled": (Image.fromarray(np.array([[65535]], np.uint16)), "TIFF", (255, 255, 255)),
    "32-bit TIFF holding 16-bit values": (Image.fromarray(np.array([[256]], np.int32)), "TIFF", (1, 1, 1)),
    "float TIFF in [0, 1]": (Image.fromarray(np.array([[0.5]], np.float32)), "TIFF", (128, 128, 128)),
}


@pytest.mark.parametrize(("image", "kind", "rgb"), PIXELS.values(), ids=PIXELS)
def test_every_colour_mode_becomes_rgb(image: Image.Image, kind: str, rgb: tuple[int, int, int]) -> None:
    photo = read_photo(encode(image, kind))
    assert photo.frame_rgb.tolist() == [[list(rgb)]]


def test_cmyk_jpeg_keeps_its_colours() -> None:
    data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert np.abs(read_photo(data).frame_rgb.astype(int) - (255, 0, 0)).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    assert read_photo(grey16(kind)).frame_rgb[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("entry", [0, b"\x00\xff\xff\xff"], ids=["one transparent colour", "alpha table"])
def test_a_palette_with_transparency_is_shown_on_white(entry: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    photo = read_photo(encode(image, "PNG", transparency=entry))
    assert photo.frame_rgb.tolist() == [[[255, 255, 255], [0, 0, 255]]]
    assert photo.notes == ("transparent parts are shown on white",)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_of_several_frames_is_read_and_said(kind: str) -> None:
    photo = read_photo(frames(kind, 4))
    assert np.abs(photo.frame_rgb.astype(int) - (255, 0, 0)).max() < 8
    assert photo.notes == ("first of 4 frames",)


def test_damage_behind_the_first_frame_does_not_cost_the_photo() -> None:
    photo = read_photo(frames("TIFF", 2)[:-240])
    assert photo.frame_rgb.tolist() == [[[255, 0, 0]] * 8] * 8
    assert photo.notes == ("first frame; later ones are damaged",)


SCANS_THAT_ARE_NONE = {
    "in the video behind a phone's photo": JPEG + b"\xff\xda" * 1000,
    "in a comment": JPEG[:2] + b"\xff\xfe\x07\xd2" + b"\xff\xda" * 1000 + JPEG[2:],
}


@pytest.mark.parametrize("data", SCANS_THAT_ARE_NONE.values(), ids=SCANS_THAT_ARE_NONE)
def test_bytes_beside_a_jpegs_picture_are_no_scans_of_it(data: bytes) -> None:
    assert np.array_equal(read_photo(data).frame_rgb, read_photo(JPEG).frame_rgb)


def test_one_pixel_is_a_photo() -> None:
    assert read_photo(encode(Image.new("RGB", (1, 1), "blue"), "PNG")).frame_rgb.tolist() == [[[0, 0, 255]]]


def test_a_photo_wider_than_a_strip_is_whole() -> None:
    stripes = np.arange(300 * 9000, dtype=np.uint32).reshape(300, 9000).astype(np.uint8)
    assert np.array_equal(read_photo(encode(Image.fromarray(stripes), "PNG")).frame_rgb[..., 1], stripes)


def test_a_pillow_image_is_read_at_its_current_frame() -> None:
    with Image.open(BytesIO(frames("GIF", 3))) as image:
        image.seek(2)
        photo = read_photo(image)
        assert image.tell() == 2
    assert photo.frame_rgb[0, 0].tolist() == [0, 0, 255]
    assert photo.notes == ()


def test_heif_is_turned_and_read() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="the option 'heif' is not installed")
    stream = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(CORNERS)).save(stream, quality=95)
    assert np.abs(read_photo(stream.getvalue()).frame_rgb.astype(int) - CORNERS).mean() < 8


def test_heif_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnsupportedMediaError, match=r"pip install 'mien\[heif\]'"):
        read_photo(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


BROKEN = {  # reason: (bytes, error, words the message must hold)
    "empty": (b"", CorruptMediaError, "0 bytes"),
    "text named as a picture": (b"Dear all, the photo is attached.", UnsupportedMediaError, "starts with 'Dear all"),
    "a video": (b"\0\0\0\x20ftypisom\0\0\2\0", UnsupportedMediaError, "mien video takes it"),
    "text that starts like a bitmap": (b"BMW was founded in 1916.", UnsupportedMediaError, "starts with"),
    "PDF": (b"%PDF-1.7\n", UnsupportedMediaError, "JPEG"),
    "PostScript, which Pillow would hand to Ghostscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", UnsupportedMediaError, "starts with"),
    "JPEG that is gone over a thousand times": (JPEG[:-2] + JPEG[JPEG.index(b"\xff\xda") : -2] * 1000, TooLargeError, "100 scans"),
    "the same behind a comment that holds a picture's end": (
        JPEG[:2] + b"\xff\xfe\0\4\xff\xd9" + JPEG[2:-2] + JPEG[JPEG.index(b"\xff\xda") : -2] * 1000,
        TooLargeError,
        "100 scans",
    ),
    "JPEG of fill bytes alone": (b"\xff\xd8" + b"\xff" * 1_000_000, CorruptMediaError, "JPEG"),
    "JPEG cut in half": (JPEG[: len(JPEG) // 2], CorruptMediaError, "JPEG"),
    "JPEG cut in its header": (JPEG[:30], CorruptMediaError, "JPEG"),
    "PNG cut in half": (LOSSLESS["PNG"][:60], CorruptMediaError, "PNG"),
    "GIF cut in half": (LOSSLESS["GIF"][: len(LOSSLESS["GIF"]) // 2], CorruptMediaError, "GIF"),
    "WebP cut in half": (LOSSLESS["WebP"][: len(LOSSLESS["WebP"]) // 2], CorruptMediaError, "WebP"),
    "BMP cut in half": (LOSSLESS["BMP"][:500], CorruptMediaError, "BMP"),
    "HEIF of four letters": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", MediaError, "HEIF"),
    "PNG of width zero": (png_of_size(0, 5), CorruptMediaError, "PNG"),
    "GIF of width zero": (b"GIF89a\0\0\5\0\0\0\0;", CorruptMediaError, ""),
    "bomb": (png_of_size(30_000, 30_000), TooLargeError, "30000x30000"),
    "more than the largest phone photo": (png_of_size(20_000, 15_000), TooLargeError, "250 megapixels"),
    "32-bit numbers beyond 16 bits": (
        encode(Image.fromarray(np.array([[70_000]], np.int32)), "TIFF"),
        CorruptMediaError,
        "from 0 to 65535",
    ),
    "float TIFF with NaN": (encode(Image.fromarray(np.array([[np.nan]], np.float32)), "TIFF"), CorruptMediaError, "nan"),
}


@pytest.mark.parametrize(("data", "error", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_says_so(tmp_path: Path, data: bytes, error: type[MediaError], words: str) -> None:
    file = tmp_path / "broken.jpg"
    file.write_bytes(data)
    with pytest.raises(error) as from_file:
        read_photo(file)
    with pytest.raises(error):
        read_photo(data)
    assert words in str(from_file.value)
    assert "broken.jpg" in str(from_file.value) or "mode" in str(from_file.value)
    assert "\n" not in str(from_file.value)


def test_size_is_checked_before_pixels_are_decoded() -> None:
    """The same file with a small size in its header reaches the decoder, which finds it too short."""
    with pytest.raises(TooLargeError):
        read_photo(png_of_size(50_000, 50_000))
    with pytest.raises(CorruptMediaError):
        read_photo(png_of_size(500, 500))


def test_no_filter_or_limit_of_the_process_changes() -> None:
    before = (list(warnings.filters), Image.MAX_IMAGE_PIXELS)
    with pytest.raises(TooLargeError):
        read_photo(png_of_size(20_000, 15_000))
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


@pytest.mark.parametrize(
    ("source", "limits"),
    [
        (JPEG, ReadLimits(max_bytes=100)),
        (JPEG, ReadLimits(max_pixels=24 * 40 - 1)),
        (CORNERS, ReadLimits(max_pixels=24 * 40 - 1)),
        (Image.fromarray(CORNERS), ReadLimits(max_pixels=24 * 40 - 1)),
    ],
    ids=["bytes", "pixels", "array", "Pillow image"],
)
def test_limits_hold_for_every_source(source: bytes, limits: ReadLimits) -> None:
    with pytest.raises(TooLargeError, match=r"max_(bytes|pixels)"):
        read_photo(source, limits=limits)
    read_photo(source, limits=ReadLimits(max_pixels=24 * 40, max_bytes=len(JPEG)))


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    sparse = tmp_path / "huge.jpg"
    with sparse.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(TooLargeError, match="1,000,000,000,000"):
        read_photo(sparse)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="/dev/zero exists on Unix only")
def test_a_file_without_end_is_given_up() -> None:
    with pytest.raises(TooLargeError):
        read_photo("/dev/zero", limits=ReadLimits(max_bytes=1000))


@pytest.mark.parametrize("name", ["max_bytes", "max_pixels", "timeout_s", "max_redirects"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        ReadLimits(**{name: 0})


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(NotFoundError, match="does not exist"):
        read_photo(tmp_path / "missing.jpg")
    with pytest.raises(NotFoundError):
        read_photo(tmp_path / "file" / "below.jpg")
    with pytest.raises(UnsupportedMediaError, match="folder"):
        read_photo(tmp_path)
    with pytest.raises(UnreadableError):
        read_photo("null\0character.jpg")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="/proc/self/mem, which opens but refuses to be read, exists on Linux only")
def test_a_file_that_the_system_refuses() -> None:
    with pytest.raises(UnreadableError, match="refuses"):
        read_photo("/proc/self/mem")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")
    with pytest.raises(NotFoundError) as error:
        read_photo(name)
    str(error.value).encode()  # can be printed
    Path(name).write_bytes(JPEG)
    assert read_photo(name).frame_rgb.shape == CORNERS.shape


@pytest.mark.parametrize("address", ["ftp://example.org/a.jpg", "file:///etc/passwd", "s3://bucket/a.jpg"])
def test_other_schemes_are_refused(address: str) -> None:
    with pytest.raises(FetchError, match=r"http\(s\)"):
        read_photo(address)


ARRAYS = {  # reason: (array, first pixel)
    "grey": (np.full((2, 3), 7, np.uint8), [7, 7, 7]),
    "grey with a channel axis": (np.full((2, 3, 1), 7, np.uint8), [7, 7, 7]),
    "RGB": (np.full((2, 3, 3), (1, 2, 3), np.uint8), [1, 2, 3]),
    "RGB, not contiguous": (np.full((2, 3, 3), (1, 2, 3), np.uint8)[:, :, ::-1], [3, 2, 1]),
    "RGBA, opaque": (np.full((2, 3, 4), (1, 2, 3, 255), np.uint8), [1, 2, 3]),
    "RGBA, transparent": (np.full((2, 3, 4), (1, 2, 3, 0), np.uint8), [255, 255, 255]),
    "floats to 1": (np.full((2, 3), 1.0), [255, 255, 255]),
    "floats to 255": (np.full((2, 3, 3), 200.4, np.float32), [200, 200, 200]),
    "black floats": (np.zeros((2, 3), np.float16), [0, 0, 0]),
    "width three, which is no channel axis": (np.full((9, 3), 5, np.uint8), [5, 5, 5]),
}


@pytest.mark.parametrize(("array", "pixel"), ARRAYS.values(), ids=ARRAYS)
def test_arrays(array: np.ndarray, pixel: list[int]) -> None:
    frame = read_photo(array).frame_rgb
    assert frame.shape == (*array.shape[:2], 3)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous
    assert frame[0, 0].tolist() == pixel


BAD_ARRAYS = {
    "NaN": (np.array([[0.0, np.nan]]), CorruptMediaError),
    "infinite": (np.array([[0.0, np.inf]]), CorruptMediaError),
    "below zero": (np.array([[-0.1, 1.0]]), CorruptMediaError),
    "above 255": (np.array([[256.0]]), CorruptMediaError),
    "no rows": (np.zeros((0, 5, 3), np.uint8), CorruptMediaError),
    "no columns": (np.zeros((5, 0), np.float32), CorruptMediaError),
    "one axis": (np.zeros(5, np.uint8), UsageError),
    "a batch": (np.zeros((2, 5, 5, 3), np.uint8), UsageError),
    "channels first": (np.zeros((3, 48, 48), np.uint8), UsageError),
    "two channels": (np.zeros((5, 5, 2), np.uint8), UsageError),
    "16-bit integers": (np.zeros((5, 5), np.uint16), UsageError),
    "objects": (np.array([[None]]), UsageError),
    "complex": (np.zeros((5, 5), complex), UsageError),
}


@pytest.mark.parametrize(("array", "error"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_that_are_no_picture(array: np.ndarray, error: type[MienError]) -> None:
    with pytest.raises(error, match="expected"):
        read_photo(array)


@pytest.mark.parametrize("source", [None, 7, ["a.jpg"], object()], ids=["None", "a number", "a list", "an object"])
def test_other_types_are_refused(source: object) -> None:
    with pytest.raises(UsageError, match="expected a path"):
        read_photo(source)  # type: ignore[arg-type]


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    out = BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


GREY = np.arange(24 * 40, dtype=np.uint8).reshape(24, 40) // 4
RGB = np.dstack([GREY, GREY + 1, GREY + 2])
PLANES = RGB.transpose(2, 0, 1)
BOTH = {"photometric": "rgb", "planarconfig": "separate"}
READ_TIFFS = {
    "8 bits in planes": (tiff(PLANES, **BOTH), RGB),
    "16 bits": (tiff(RGB.astype(np.uint16) * 257, photometric="rgb"), RGB),
    "16 bits, big-endian": (tiff(RGB.astype(np.uint16) * 257, photometric="rgb", byteorder=">"), RGB),
    "16 bits in planes, compressed": (tiff(PLANES.astype(np.uint16) * 257, compression="zlib", **BOTH), RGB),
    "BigTIFF": (tiff(RGB, photometric="rgb", bigtiff=True), RGB),
    "white is 0": (tiff(255 - GREY, photometric="miniswhite"), np.dstack([GREY] * 3)),
    "floats of one channel": (tiff(GREY.astype(np.float32)), np.dstack([GREY] * 3)),
}
OTHER_TIFFS = {
    "16 bits in planes": (tiff(PLANES.astype(np.uint16) * 257, **BOTH), "3 x 16 unsigned bits in separate planes"),
    "the same in tiles": (tiff(PLANES.astype(np.uint16) * 257, tile=(16, 16), **BOTH), "3 x 16 unsigned bits in separate planes"),
    "white is 0 in 16 bits": (tiff(GREY.astype(np.uint16) * 257, photometric="miniswhite"), "photometric interpretation 0"),
    "floats of three channels": (tiff((RGB / 255).astype(np.float32), photometric="rgb"), "3 x 32 floating-point bits"),
    "short floats": (tiff((GREY / 255).astype(np.float16)), "1 x 16 floating-point bits"),
    "long floats": (tiff(GREY / 255), "1 x 64 floating-point bits"),
    "signed": (tiff(GREY.astype(np.int16)), "1 x 16 signed bits"),
    "complex": (tiff(GREY.astype(np.complex64)), "complex bits"),
    "32 bits": (tiff(GREY.astype(np.uint32)), "1 x 32 unsigned bits"),
    "colour filter array": (tiff(GREY, photometric="cfa"), "raw file"),
    "DNG whose first page is a thumbnail": (
        tiff(RGB, photometric="rgb", subfiletype=1, extratags=[(50706, 1, 4, (1, 4, 0, 0), True)]),
        "raw file (DNG or alike); export it as JPEG",
    ),
}


@pytest.mark.parametrize(("data", "pixels"), READ_TIFFS.values(), ids=READ_TIFFS)
def test_a_tiff_gives_its_pixels(data: bytes, pixels: np.ndarray) -> None:
    assert np.array_equal(read_photo(data).frame_rgb, pixels)


@pytest.mark.parametrize(("data", "words"), OTHER_TIFFS.values(), ids=OTHER_TIFFS)
def test_a_tiff_that_would_be_misread_is_unsupported(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedMediaError) as caught:
        read_photo(data)
    assert words in str(caught.value)


def test_a_matrix_is_a_grey_picture() -> None:
    with warnings.catch_warnings(action="ignore"):  # NumPy advises against it; people have them
        matrix = np.matrix(GREY)
    assert np.array_equal(read_photo(matrix).frame_rgb, np.dstack([GREY] * 3))


@pytest.mark.parametrize(
    ("uri", "error", "words"),
    [
        pytest.param("data:image/png;base64,%%%", CorruptMediaError, "expected base64", id="no base64"),
        pytest.param("data:image/png;base64,", CorruptMediaError, "0 bytes", id="nothing"),
        pytest.param("data:text/plain,hello", UnsupportedMediaError, "starts with 'hello'", id="text"),
        pytest.param("data:image/png;base64," + "A" * 1_000_000, UnsupportedMediaError, "1,000,000 characters", id="a million characters"),
        pytest.param("data:image/png;base64," + "A" * 4_000_000, TooLargeError, "at most 1,000,000 bytes", id="too large"),
    ],
)
def test_a_bad_data_uri_says_so_in_few_words(uri: str, error: type[MediaError], words: str) -> None:
    with pytest.raises(error) as caught:
        read_photo(uri, limits=ReadLimits(max_bytes=1_000_000))
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


LOSSLESS_PNG = LOSSLESS["PNG"]
PARTS_BY_THE_MILLION = {
    "JPEG segments": (JPEG[:2] + b"\xff\xec\0\2" * 2_000_000 + JPEG[2:], "10,000 segments"),
    "PNG chunks": (LOSSLESS_PNG[:33] + chunk(b"zzZz") * 700_000 + LOSSLESS_PNG[33:], "100,000 chunks"),
}


@pytest.mark.parametrize(("data", "words"), PARTS_BY_THE_MILLION.values(), ids=PARTS_BY_THE_MILLION)
def test_a_file_of_empty_parts_is_refused_at_once(data: bytes, words: str) -> None:
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(TooLargeError, match=words):
        read_photo(data)
    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 2
    assert peak < 50e6, "less than three copies of the file"


@pytest.mark.parametrize("count", [0, 200], ids=["none", "two hundred"])
def test_some_segments_more_are_no_matter(count: int) -> None:
    assert read_photo(JPEG[:2] + b"\xff\xec\0\2" * count + JPEG[2:]).frame_rgb.shape == (24, 40, 3)


def test_the_pages_of_a_long_tiff_are_not_all_counted() -> None:
    photo = read_photo(frames("TIFF", 1100))
    assert photo.notes == ("first of more than 1,000 frames",)
    picture = Image.open(BytesIO(frames("TIFF", 3)))
    picture.seek(1)
    read_photo(picture)
    assert picture.tell() == 1, "a picture of the caller's stays at its page"


@pytest.mark.parametrize("size", [(12_000, 9_000), (16_320, 12_240)], ids=["108 megapixels", "200 megapixels"])
def test_the_largest_phone_photos_are_read_and_pillows_limit_stays(size: tuple[int, int]) -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.warns(Image.DecompressionBombWarning) if size[0] * size[1] < 2 * before else pytest.raises(Image.DecompressionBombError):
        Image.open(BytesIO(data := encode(Image.new("L", size, 200), "JPEG")))
    assert read_photo(data).frame_rgb.shape == (size[1], size[0], 3)
    assert before == Image.MAX_IMAGE_PIXELS
