"""Small encoded pictures that the tests of this folder read."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

# Four corners of different colours, not square: every turn and mirror of it differs.
CORNERS = np.full((24, 40, 3), 128, np.uint8)
CORNERS[:12, :20], CORNERS[:12, 20:], CORNERS[12:, :20] = (250, 10, 10), (10, 250, 10), (10, 10, 250)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def corners(kind: str, **options: Any) -> bytes:
    return encode(Image.fromarray(CORNERS), kind, **options)


def turned(orientation: int, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return corners(kind, exif=exif)


def frames(kind: str, count: int) -> bytes:
    """A file of ``count`` frames, the first of them red."""
    colours = ["red", "lime", "blue", "white"]
    first, *others = [Image.new("RGB", (8, 8), colours[i % 4]) for i in range(count)]
    return encode(first, kind, save_all=True, append_images=others)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises ``width`` x ``height`` grey pixels and whose body is a handful of bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
