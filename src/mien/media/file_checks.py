"""Checks of a picture's file before it is decoded: too many parts, and TIFF files that the decoder misreads."""

from __future__ import annotations

import re
from io import BytesIO

from PIL import TiffImagePlugin

from mien.errors import TooLargeError, UnsupportedMediaError

# Every scan of a progressive JPEG is a pass over the whole picture. Usual files have about ten scans; a malicious file has very many.
MAX_SCANS = 100
START_OF_SCAN, END_OF_PICTURE = b"\xda", b"\xd9"
# A decoder handles each JPEG segment and each PNG chunk separately. Usual files have some hundred segments, or one chunk per 8 kB.
MAX_SEGMENTS, MAX_CHUNKS = 10_000, 100_000
JPEG_MARKER = re.compile(rb"\xff([^\0\x01\xd0-\xd7\xff])")  # without the markers that occur alone inside a scan
# From TIFF 6.0: tags; values of SampleFormat, of PhotometricInterpretation (grey, RGB, palette, CMYK, YCbCr), Compression (none, PackBits).
NEW_SUBFILE_TYPE, SUB_IFDS, DNG_VERSION = 254, 330, 50706
UNSIGNED, SIGNED, FLOAT = (1, 4), 2, 3
KNOWN_COLOURS, RAW_COLOURS = (0, 1, 2, 3, 5, 6), (32803, 34892)
PLAIN_COMPRESSIONS = (1, 32773)


def check_segments(jpeg: bytes, name: str) -> None:
    """Raise TooLargeError for too many segments or scans. Markers inside a segment or after the image's end are not counted."""
    segments, scans, at = 0, 0, 2
    while (found := JPEG_MARKER.search(jpeg, at)) and found[1] != END_OF_PICTURE:
        segments += 1
        scans += found[1] == START_OF_SCAN
        if scans > MAX_SCANS:
            raise TooLargeError(f"expected a JPEG of at most {MAX_SCANS} scans, got more in {name}; save it again")
        if segments > MAX_SEGMENTS:
            raise TooLargeError(f"expected a JPEG of at most {MAX_SEGMENTS:,} segments, got more in {name}; save it again")
        at = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])


def check_chunks(png: bytes, name: str) -> None:
    """Raise TooLargeError for too many chunks."""
    chunks, at = 0, 8
    while at < len(png):
        at += 12 + int.from_bytes(png[at : at + 4])
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise TooLargeError(f"expected a PNG of at most {MAX_CHUNKS:,} chunks, got more in {name}; save it again")


def check_tiff(data: bytes, name: str) -> None:
    """Raise UnsupportedMediaError for a TIFF that Pillow would misread, or whose first image is not the actual picture.

    The numbers are from TIFF 6.0, and from DNG 1.7 for raw files of cameras, where the first directory is often a thumbnail.
    """
    stream = BytesIO(data)
    head = stream.read(16 if data[2:3] == b"+" or data[3:4] == b"+" else 8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    stream.seek(tags.next)
    tags.load(stream)
    photometric = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1)
    is_part = tags.get(NEW_SUBFILE_TYPE, 0) & 1 and SUB_IFDS in tags
    if DNG_VERSION in tags or is_part or photometric in RAW_COLOURS or data[8:10] == b"CR":
        raise UnsupportedMediaError(f"expected a picture, got {name}, which is a camera's raw file (DNG or alike); export it as JPEG")
    bits, samples = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)), tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    (number, *others) = dict.fromkeys(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,)))
    in_planes = samples > 1 and tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2
    stored_plainly = tags.get(TiffImagePlugin.COMPRESSION, 1) in PLAIN_COMPRESSIONS
    good = (
        not others
        and photometric in KNOWN_COLOURS
        and (set(bits) <= {1, 2, 4, 8, 16} if number in UNSIGNED else number in (SIGNED, FLOAT) and set(bits) == {32} and samples == 1)
        and not (16 in bits and ((in_planes and stored_plainly) or photometric == 0))
    )
    if not good:
        kind = {FLOAT: "floating-point", SIGNED: "signed"}.get(number, "unsigned" if number in UNSIGNED else "complex")
        planes = " in separate planes" if in_planes else ""
        raise UnsupportedMediaError(
            f"expected a TIFF of 8 or 16 unsigned bits a channel, got {name}, which has {samples} x {max(bits)} {kind} bits{planes} "
            f"(photometric interpretation {photometric}); save it as 8-bit RGB, or as PNG"
        )
