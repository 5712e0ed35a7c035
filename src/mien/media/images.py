"""A path, URL, bytes, array or Pillow image -> one upright RGB frame. Limits are checked before anything is decoded.

The first bytes decide the format, never the file's name. Only the formats of :data:`FORMATS` are tried.
"""

from __future__ import annotations

import base64
import binascii
import re
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from mien.arrays import Frame
from mien.errors import (
    CorruptMediaError,
    FetchError,
    MediaError,
    MissingExtraError,
    NotFoundError,
    TooLargeError,
    UnreadableError,
    UnsupportedMediaError,
    UsageError,
    presentable,
)
from mien.media.fetch import fetch
from mien.media.file_checks import check_chunks, check_segments, check_tiff

PhotoSource = str | Path | bytes | bytearray | memoryview | NDArray[Any] | Image.Image


@dataclass(frozen=True)
class Format:
    """A file format: the bytes at its start (a regular expression), the class that reads it, and the usual endings of its files."""

    magic: bytes
    module: str
    reader: str
    suffixes: tuple[str, ...]


FORMATS = {
    "JPEG": Format(rb"\xff\xd8\xff", "PIL.JpegImagePlugin", "JpegImageFile", (".jpg", ".jpeg", ".jpe", ".jfif")),
    "PNG": Format(rb"\x89PNG\r\n\x1a\n", "PIL.PngImagePlugin", "PngImageFile", (".png",)),
    "GIF": Format(rb"GIF8[79]a", "PIL.GifImagePlugin", "GifImageFile", (".gif",)),
    "WebP": Format(rb"RIFF.{4}WEBP", "PIL.WebPImagePlugin", "WebPImageFile", (".webp",)),
    "TIFF": Format(rb"II[*+]\0|MM\0[*+]", "PIL.TiffImagePlugin", "TiffImageFile", (".tif", ".tiff")),
    "BMP": Format(rb"BM.{10}\0\0", "PIL.BmpImagePlugin", "BmpImageFile", (".bmp",)),
    "PPM": Format(rb"P[1-6]\s", "PIL.PpmImagePlugin", "PpmImageFile", (".ppm", ".pgm", ".pbm", ".pnm")),
    "JPEG 2000": Format(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", "PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile", (".jp2", ".j2k")),
    "AVIF": Format(rb".{4}ftypavi[fs]", "PIL.AvifImagePlugin", "AvifImageFile", (".avif",)),
    "HEIF": Format(rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", "pillow_heif", "HeifImageFile", (".heic", ".heif", ".hif")),
}
MAX_COUNTED = 1000  # pages of a TIFF; counting them reads the header of each page
# First bytes of videos in common containers. A file that FFmpeg cannot open, and that starts with other bytes, is not a video.
VIDEOS = re.compile(rb".{4}(?:ftyp|moov|mdat|free|wide|skip)|\x1a\x45\xdf\xa3|RIFF|OggS|FLV|\x00\x00\x01\xba", re.DOTALL)
# EXIF orientation -> function from the upright frame (H, W, 3) to a view of it in the file's pixel order.
STORED: dict[int, Callable[[Frame], Frame]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
STRIP_PIXELS = 2**20


@dataclass(frozen=True)
class ReadLimits:
    """The limits for one photo. ``timeout_s`` covers a whole download, including redirects.

    The defaults accept photos of 200 megapixels, as phones make them. Pillow's own limit keeps the value of the process: Pillow still
    refuses some TIFF files of more than twice ``PIL.Image.MAX_IMAGE_PIXELS``.

    Raises:
        UsageError: a limit is zero or negative.
    """

    max_bytes: int = 200_000_000
    max_pixels: int = 250_000_000
    timeout_s: float = 20.0
    max_redirects: int = 5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UsageError(f"ReadLimits: {name} must be above zero, got {value!r}")


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright picture. ``frame_rgb`` is uint8 (H, W, 3), C-contiguous. ``notes`` say what was ignored or filled in on reading."""

    frame_rgb: Frame
    notes: tuple[str, ...] = ()


def read_photo(source: PhotoSource, *, limits: ReadLimits = ReadLimits()) -> Photo:
    """Return the picture in ``source``, rotated as its EXIF data say, with a white background, and the first of several frames.

    ``source`` is a path, an http(s) URL (a str; it may contain a user and password), a data URI, the bytes of an encoded file, a Pillow
    image (its current frame), or an array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA. Arrays are uint8, floats in [0, 1] or
    floats in [0, 255]. A float array with a maximum of 1 or less is read as [0, 1]. A contiguous uint8 RGB array is not copied. 16 bits
    per channel are scaled to 8. Colour profiles are ignored.

    Raises:
        UsageError: the source has another type, or the array has another shape or dtype.
        NotFoundError: the path does not exist, or the server says so (404, 410).
        UnreadableError: the system does not read the file.
        UnsupportedMediaError: not an image, or an image format that Mien does not read.
        CorruptMediaError: the image is cut short or damaged, or the array has NaN or values out of range.
        TooLargeError: the source is over ``limits``.
        FetchError: the address cannot be downloaded.

    >>> read_photo(np.zeros((2, 3), np.uint8)).frame_rgb.shape
    (2, 3, 3)
    """
    if isinstance(source, np.ndarray):
        return _photo_of_array(np.asarray(source), limits)  # np.matrix becomes a plain array, which may have any number of dimensions
    if isinstance(source, Image.Image):
        _check_pixels(*source.size, "the image", limits)
        with _decoding("a readable picture in the image"):
            return _photo_of_image(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), "the data"
        if len(data) > limits.max_bytes:
            raise _too_many_bytes(name, f"{len(data):,}", limits)
    elif isinstance(source, str) and is_data_uri(source):
        data, name = data_of_uri(source, limits), display_name(source)
    elif isinstance(source, str) and (scheme := re.match(r"(?i)([a-z][a-z0-9+.-]+)://", source)):
        if scheme[1].lower() not in ("http", "https"):
            raise FetchError(f"expected a path or an http(s) address, got {source}; download it first and pass the file")
        name = display_name(source)
        data = fetch(source, max_bytes=limits.max_bytes, timeout_s=limits.timeout_s, max_redirects=limits.max_redirects)
    elif isinstance(source, (str, Path)):
        data, name = _read_file(Path(source), limits), display_name(source)
    else:
        raise UsageError(f"expected a path, URL, bytes, array or Pillow image, got {type(source).__name__}")
    return _photo_of_bytes(data, name, limits)


def display_name(path: str | Path) -> str:
    r"""Return a path or an address as text that every encoding can write, without passwords (:func:`mien.errors.presentable`).

    Bytes of a name that are not UTF-8 become escapes.

    >>> print(display_name("caf\udce9.jpg"))
    caf\udce9.jpg
    """
    return presentable(str(path).encode("utf-8", "backslashreplace").decode())


def is_data_uri(text: str) -> bool:
    """Return whether a text is a data URI (RFC 2397), which contains the file itself."""
    return re.match(r"(?i)data:[^,]{0,200},", text) is not None


def data_of_uri(uri: str, limits: ReadLimits = ReadLimits()) -> bytes:
    """Return the file in a data URI. Its media type is ignored.

    Raises:
        CorruptMediaError: the URI says base64, but the data are not base64.
        TooLargeError: the file is over ``limits``.

    >>> data_of_uri("data:text/plain;base64,aGVsbG8="), data_of_uri("data:,a%20b")
    (b'hello', b'a b')
    """
    head, _, text = uri.partition(",")
    if len(text) > 3 * limits.max_bytes:  # a byte takes at most 3 characters, such as %41
        raise _too_many_bytes(display_name(uri), "more", limits)
    data = urllib.parse.unquote_to_bytes(text)
    if head.lower().endswith(";base64"):
        try:
            data = base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error as error:
            raise CorruptMediaError(f"expected base64 in {display_name(uri)}, got something else ({error}); encode it again") from None
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(display_name(uri), f"{len(data):,}", limits)
    return data


def _read_file(path: Path, limits: ReadLimits) -> bytes:
    name = display_name(path)
    try:
        if path.is_dir():
            raise UnsupportedMediaError(f"expected an image file, got the folder {name}; pass the files in it")
        if (size := path.stat().st_size) > limits.max_bytes:
            raise _too_many_bytes(name, f"{size:,}", limits)
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)  # the size of a pipe or device is not known before
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"expected an image file, got {name}, which does not exist; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise UnreadableError(f"expected a readable file, got {name}, which the system refuses ({reason}); check its permissions") from None
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(name, "more", limits)
    return data


def _too_many_bytes(name: str, size: str, limits: ReadLimits) -> TooLargeError:
    return TooLargeError(
        f"expected at most {limits.max_bytes:,} bytes, got {size} in {name}; "
        "make the file smaller, or allow more with --max-bytes (max_bytes)"
    )


def _check_pixels(width: int, height: int, name: str, limits: ReadLimits) -> None:
    if width < 1 or height < 1:
        raise CorruptMediaError(f"expected at least one pixel, got {width}x{height} in {name}; save the picture again")
    if width * height > limits.max_pixels:
        raise TooLargeError(
            f"expected at most {limits.max_pixels / 1e6:g} megapixels, got {width}x{height} in {name}; "
            "scale it down, or allow more with --max-pixels (max_pixels)"
        )


def _photo_of_bytes(data: bytes, name: str, limits: ReadLimits) -> Photo:
    if not data:
        raise CorruptMediaError(f"expected an image, got nothing (0 bytes) in {name}; copy or download it again")
    kind = next((kind for kind, layout in FORMATS.items() if re.match(layout.magic, data, re.DOTALL)), None)
    if kind is None:
        if VIDEOS.match(data):
            raise UnsupportedMediaError(f"expected an image, got {name}, which starts as a video does; mien video takes it")
        start = data[:12].decode("ascii", "backslashreplace")
        raise UnsupportedMediaError(
            f"expected one of {', '.join(FORMATS)}, got {name}, which starts with {start!r}; convert it to JPEG or PNG"
        )
    if kind == "JPEG":
        check_segments(data, name)
    if kind == "PNG":
        check_chunks(data, name)
    with _decoding(f"a whole {kind} file in {name}"):
        try:
            reader: type[ImageFile.ImageFile] = getattr(import_module(FORMATS[kind].module), FORMATS[kind].reader)
        except ImportError:
            hint = MissingExtraError("pillow_heif", "heif") if kind == "HEIF" else "install a newer Pillow"
            raise UnsupportedMediaError(f"{name} is a {kind} file: {hint}") from None
        if kind == "TIFF":
            check_tiff(data, name)
        with reader(BytesIO(data)) as image:
            _check_pixels(*image.size, name, limits)
            return _photo_of_image(image)


@contextmanager
def _decoding(expected: str) -> Iterator[None]:
    """Turn any error of a decoder into a MediaError."""
    try:
        yield
    except MediaError:
        raise
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(f"expected {expected} that fits into memory, got one too large ({_line(error)}); scale it down") from error
    except Exception as error:  # decoders raise many kinds of error: struct.error, KeyError, ZeroDivisionError, ...
        raise CorruptMediaError(
            f"expected {expected}, got one that is cut short or damaged ({_line(error)}); copy or save it again"
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _photo_of_image(image: Image.Image) -> Photo:
    promised = image.size
    image.load()
    if image.size != promised:
        raise CorruptMediaError(f"expected {promised[0]}x{promised[1]} pixels, as the header says, got {image.width}x{image.height}")
    orientation, notes = _orientation(image)
    width, height = image.size
    frame_rgb = np.empty((width, height, 3) if orientation >= 5 else (height, width, 3), np.uint8)
    stored = STORED[orientation](frame_rgb)  # (height, width, 3)
    if image.mode.startswith(("I", "F")):
        stored[:] = _eight_bits(np.asarray(image), f"a picture of mode {image.mode}")[..., None]
    elif _fill(stored, image):
        notes += ("transparent parts are shown on white",)
    return Photo(frame_rgb, notes + _frame_notes(image))


def _fill(stored: Frame, image: Image.Image) -> bool:
    """Write the image's pixels into ``stored``, strip by strip to save memory. Return whether any pixel is transparent."""
    width, height = image.size
    rows = max(1, STRIP_PIXELS // width)
    transparent = False
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            alpha = strip.getchannel("A")
            transparent |= bool(np.asarray(alpha).min() < 255)
            white = Image.new("RGB", strip.size, "white")
            white.paste(strip, mask=alpha)
            strip = white
        stored[top : top + rows] = np.asarray(strip.convert("RGB"))
    return transparent


def _orientation(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """Return the EXIF orientation, a key of STORED, and notes. It is 1 if it is missing, unknown or damaged; damage adds a note."""
    try:
        orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels are intact; damaged metadata should not prevent reading the photo
        return 1, ("EXIF data are damaged; taken as upright",)
    return orientation if orientation in STORED else 1, ()


def _frame_notes(image: Image.Image) -> tuple[str, ...]:
    try:
        frames = _count_pages(image) if image.format == "TIFF" else getattr(image, "n_frames", 1)
    except Exception:  # the first frame is intact; a later frame is damaged
        return ("first frame; later ones are damaged",)
    if frames == 1 or image.tell() != 0:
        return ()
    return (f"first of {frames} frames" if frames <= MAX_COUNTED else f"first of more than {MAX_COUNTED:,} frames",)


def _count_pages(image: Image.Image) -> int:
    """Return the number of pages, or MAX_COUNTED + 1 if there are more. The image stays at its current page."""
    here = image.tell()
    try:
        for number in range(1, MAX_COUNTED + 1):
            image.seek(number)
    except EOFError:
        return number
    finally:
        image.seek(here)
    return MAX_COUNTED + 1


def _photo_of_array(array: NDArray[Any], limits: ReadLimits) -> Photo:
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise UsageError(f"expected an array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, got shape {array.shape}")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise UsageError(f"expected an array of uint8, or of floats in [0, 1] or [0, 255], got {array.dtype}; convert it first")
    _check_pixels(array.shape[1], array.shape[0], "the array", limits)
    pixels = array if array.dtype == np.uint8 else _eight_bits(array, "an array of floats")
    if pixels.shape[2:] == (4,):
        return _photo_of_image(Image.fromarray(pixels))
    return Photo(_rgb(pixels))


def _eight_bits(values: NDArray[Any], what: str) -> Frame:
    """Return uint8 from 16-bit integers, or from floats in [0, 1] or [0, 255].

    Raises:
        CorruptMediaError: a value is NaN or outside these ranges.
    """
    low, high = values.min(), values.max()
    top = 255 if values.dtype.kind == "f" else 65535
    if not (low >= 0 and high <= top):
        raise CorruptMediaError(f"expected values from 0 to {top}, got {low:g} to {high:g} in {what}; scale it to 8 bits first")
    if top == 65535:
        return np.asarray(values >> 8, np.uint8)
    return np.asarray(np.rint(values * (255 if high <= 1 else 1)), np.uint8)


def _rgb(pixels: Frame) -> Frame:
    """Return contiguous (H, W, 3) from (H, W), (H, W, 1) or (H, W, 3). A contiguous (H, W, 3) array is not copied."""
    if pixels.shape[2:] == (3,):
        return np.ascontiguousarray(pixels)
    return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
