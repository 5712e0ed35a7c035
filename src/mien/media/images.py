"""A path, URL, bytes, array or Pillow image -> one upright RGB frame, within limits that are checked before anything is decoded.

Formats are told by their first bytes, never by the file's name, and only those of :data:`FORMATS` are tried.
"""

from __future__ import annotations

import re
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
)
from mien.media.fetch import fetch

PhotoSource = str | Path | bytes | bytearray | memoryview | NDArray[Any] | Image.Image


@dataclass(frozen=True)
class Format:
    """A file format: the bytes it starts with (a regular expression), the class that reads it, and its files' usual endings."""

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
# Every scan of a progressive JPEG is a pass over the whole picture; usual ones have about ten, and a malicious one has as many as fit.
MAX_SCANS = 100
START_OF_SCAN, END_OF_PICTURE = b"\xda", b"\xd9"
JPEG_MARKER = re.compile(rb"\xff([^\0\x01\xd0-\xd7\xff])")  # without those that stand alone inside a scan
# What videos of the common containers start with: a file that FFmpeg cannot open, and that does not start so, is none.
VIDEOS = re.compile(rb".{4}(?:ftyp|moov|mdat|free|wide|skip)|\x1a\x45\xdf\xa3|RIFF|OggS|FLV|\x00\x00\x01\xba", re.DOTALL)
# What an EXIF orientation means: from the upright frame (H, W, 3) to a view of it in the order in which the file stores the pixels.
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
    """How much one photo may cost. ``timeout_s`` covers a whole download, redirects included.

    Pillow's own guard stays as the process has set it: it refuses some pictures of more than ``PIL.Image.MAX_IMAGE_PIXELS``.

    Raises:
        UsageError: a limit is not above zero.
    """

    max_bytes: int = 100_000_000
    max_pixels: int = 60_000_000
    timeout_s: float = 20.0
    max_redirects: int = 5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UsageError(f"ReadLimits: {name} must be above zero, got {value!r}")


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright picture: ``frame_rgb`` is uint8 (H, W, 3), C-contiguous; ``notes`` say what the reading left out or filled in."""

    frame_rgb: Frame
    notes: tuple[str, ...] = ()


def read_photo(source: PhotoSource, *, limits: ReadLimits = ReadLimits()) -> Photo:
    """Return the picture in ``source``, turned as its EXIF data say, transparent parts on white, the first of several frames.

    ``source`` is a path, an http(s) URL (a str), an encoded file's bytes, a Pillow image (its current frame), or an array (H, W),
    (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA. Arrays are uint8, or floats in [0, 1], or floats in [0, 255]: one whose
    largest value is at most 1 counts as the first kind. A uint8 RGB array is not copied unless it is not contiguous. Sixteen
    bits a channel are scaled to eight; colour profiles are ignored.

    Raises:
        UsageError: a source of another type, or an array of another shape or dtype.
        NotFoundError: no such path, or the server says so (404, 410).
        UnreadableError: the system would not read the file.
        UnsupportedMediaError: not an image, or one of a kind that Mien does not read.
        CorruptMediaError: an image cut short or damaged, or an array with NaN or values out of range.
        TooLargeError: over ``limits``.
        FetchError: an address that could not be downloaded.

    >>> read_photo(np.zeros((2, 3), np.uint8)).frame_rgb.shape
    (2, 3, 3)
    """
    if isinstance(source, np.ndarray):
        return _photo_of_array(source, limits)
    if isinstance(source, Image.Image):
        _check_pixels(*source.size, "the image", limits)
        with _decoding("a readable picture in the image"):
            return _photo_of_image(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), "the data"
        if len(data) > limits.max_bytes:
            raise _too_many_bytes(name, f"{len(data):,}", limits)
    elif isinstance(source, str) and (scheme := re.match(r"(?i)([a-z][a-z0-9+.-]+)://", source)):
        if scheme[1].lower() not in ("http", "https"):
            raise FetchError(f"expected a path or an http(s) address, got {source}; download it first and pass the file")
        name = source
        data = fetch(source, max_bytes=limits.max_bytes, timeout_s=limits.timeout_s, max_redirects=limits.max_redirects)
    elif isinstance(source, (str, Path)):
        data, name = _read_file(Path(source), limits), display_name(source)
    else:
        raise UsageError(f"expected a path, URL, bytes, array or Pillow image, got {type(source).__name__}")
    return _photo_of_bytes(data, name, limits)


def display_name(path: str | Path) -> str:
    r"""Return a path as text that every encoding can write; bytes of a name that are not UTF-8 become escapes.

    >>> print(display_name("caf\udce9.jpg"))
    caf\udce9.jpg
    """
    return str(path).encode("utf-8", "backslashreplace").decode()


def _read_file(path: Path, limits: ReadLimits) -> bytes:
    name = display_name(path)
    try:
        if path.is_dir():
            raise UnsupportedMediaError(f"expected an image file, got the folder {name}; pass the files in it")
        if (size := path.stat().st_size) > limits.max_bytes:
            raise _too_many_bytes(name, f"{size:,}", limits)
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)  # a pipe or device has no size to ask for
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"expected an image file, got {name}, which does not exist; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise UnreadableError(f"expected a readable file, got {name}, which the system refuses ({reason}); check its permissions") from None
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(name, "more", limits)
    return data


def _too_many_bytes(name: str, size: str, limits: ReadLimits) -> TooLargeError:
    return TooLargeError(f"expected at most {limits.max_bytes:,} bytes, got {size} in {name}; make the file smaller or raise max_bytes")


def _check_pixels(width: int, height: int, name: str, limits: ReadLimits) -> None:
    if width < 1 or height < 1:
        raise CorruptMediaError(f"expected at least one pixel, got {width}x{height} in {name}; save the picture again")
    if width * height > limits.max_pixels:
        raise TooLargeError(
            f"expected at most {limits.max_pixels / 1e6:g} megapixels, got {width}x{height} in {name}; scale it down or raise max_pixels"
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
    if kind == "JPEG" and _has_many_scans(data):
        raise TooLargeError(f"expected a JPEG of at most {MAX_SCANS} scans, got more in {name}; save it again")
    with _decoding(f"a whole {kind} file in {name}"):
        try:
            reader: type[ImageFile.ImageFile] = getattr(import_module(FORMATS[kind].module), FORMATS[kind].reader)
        except ImportError:
            hint = MissingExtraError("pillow_heif", "heif") if kind == "HEIF" else "install a newer Pillow"
            raise UnsupportedMediaError(f"{name} is a {kind} file: {hint}") from None
        with reader(BytesIO(data)) as image:
            _check_pixels(*image.size, name, limits)
            return _photo_of_image(image)


def _has_many_scans(jpeg: bytes) -> bool:
    """Return whether a JPEG's picture has more than MAX_SCANS; what stands inside a segment, or behind the picture's end, is none."""
    count, at = 0, 2
    while count <= MAX_SCANS and (found := JPEG_MARKER.search(jpeg, at)) and found[1] != END_OF_PICTURE:
        count += found[1] == START_OF_SCAN
        at = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])
    return count > MAX_SCANS


@contextmanager
def _decoding(expected: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a MediaError."""
    try:
        yield
    except MediaError:
        raise
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(f"expected {expected} that fits into memory, got one too large ({_line(error)}); scale it down") from error
    except Exception as error:  # a decoder raises whatever its parser stumbles over: struct.error, KeyError, ZeroDivisionError, ...
        raise CorruptMediaError(
            f"expected {expected}, got one that is cut short or damaged ({_line(error)}); copy or save it again"
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _photo_of_image(image: Image.Image) -> Photo:
    image.load()
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
    """Write the image's pixels into ``stored``, strip by strip to save memory, and return whether any of them is transparent."""
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
    """Return the EXIF orientation, a key of STORED: 1 when there is none, an unknown one, or damage (which a note says)."""
    try:
        orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels are fine; damage in the side data should not cost the photo
        return 1, ("EXIF data are damaged; taken as upright",)
    return orientation if orientation in STORED else 1, ()


def _frame_notes(image: Image.Image) -> tuple[str, ...]:
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # the first frame is fine; it is the later ones that are damaged
        return ("first frame; later ones are damaged",)
    return (f"first of {frames} frames",) if frames > 1 and image.tell() == 0 else ()


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
        CorruptMediaError: values outside those ranges, NaN among them.
    """
    low, high = values.min(), values.max()
    top = 255 if values.dtype.kind == "f" else 65535
    if not (low >= 0 and high <= top):
        raise CorruptMediaError(f"expected values from 0 to {top}, got {low:g} to {high:g} in {what}; scale it to 8 bits first")
    if top == 65535:
        return np.asarray(values >> 8, np.uint8)
    return np.asarray(np.rint(values * (255 if high <= 1 else 1)), np.uint8)


def _rgb(pixels: Frame) -> Frame:
    """Return contiguous (H, W, 3) from (H, W), (H, W, 1) or (H, W, 3); no copy when it is that already."""
    if pixels.shape[2:] == (3,):
        return np.ascontiguousarray(pixels)
    return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
