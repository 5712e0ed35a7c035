"""A video file -> whether its structure shows that its end is missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

TS_PACKET, TS_SYNC = 188, b"G"  # bytes; ISO/IEC 13818-1
M2TS_PACKET = 192  # Blu-ray: four bytes of time before each packet
OGG_HEADER, MAX_OGG_PAGE = 27, 65307  # bytes; RFC 3533
EBML_HEADER, EBML_SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"  # RFC 8794, RFC 9559
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"styp", b"sidx", b"uuid", b"meta", b"udta")


def is_cut(path: str | Path) -> bool:
    """Return whether a local file is shorter than its container says: MP4, Matroska and WebM, AVI, Ogg, FLV, WMV and MPEG-TS.

    Return False if the container gives no size (an MPEG program stream, or output to a pipe), for other formats, and without a file.
    """
    try:
        with Path(path).open("rb") as file:
            if not (size := os.fstat(file.fileno()).st_size):
                return False
            start = file.read(16)
            look = next((look for is_such, look in _LOOKS if is_such(start)), None)
            return look is not None and look(file, size)
    except (OSError, ValueError):
        return False


def _iso(file: BinaryIO, size: int) -> bool:
    """ISO/IEC 14496-12: the file is a sequence of boxes, each with its size."""
    at = 0
    while at + 8 <= size:
        length, kind = _number(file, at, 4), _bytes(file, at + 4, 4)
        if kind not in ISO_BOXES or length == 0:  # 0: the box extends to the end of the file
            return False
        if length == 1:
            length = _number(file, at + 8, 8)
        if length < 8:
            return False
        at += length
    return at > size


def _matroska(file: BinaryIO, size: int) -> bool:
    header_size, at = _ebml_size(file, len(EBML_HEADER))
    if header_size is None or _bytes(file, at + header_size, 4) != EBML_SEGMENT:
        return False
    segment_size, start = _ebml_size(file, at + header_size + 4)
    return segment_size is not None and start + segment_size > size


def _ebml_size(file: BinaryIO, at: int) -> tuple[int | None, int]:
    """Return the size of the element whose size field is at byte ``at`` (None if unknown), and the start of its content."""
    first = _number(file, at, 1)
    length = 9 - first.bit_length()
    value = _number(file, at, length) & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), at + length


def _riff(file: BinaryIO, size: int) -> bool:
    """AVI: the first RIFF chunk and, in OpenDML files, the chunks after it."""
    at = 0
    while at + 12 <= size and _bytes(file, at, 4) == b"RIFF":
        length = _number(file, at + 4, 4, "little")
        if not length:  # a file that was written to a pipe has no length
            return False
        at += 8 + length
    return at > size


def _ogg(file: BinaryIO, size: int) -> bool:
    """Return whether the last page is longer than the rest of the file."""
    tail_at = max(0, size - MAX_OGG_PAGE)
    at = _bytes(file, tail_at, MAX_OGG_PAGE).rfind(b"OggS")
    if at < 0:
        return False
    start = tail_at + at
    lacing = _bytes(file, start + OGG_HEADER, _number(file, start + 26, 1))
    return start + OGG_HEADER + len(lacing) + sum(lacing) > size or start + OGG_HEADER > size


def _flv(file: BinaryIO, size: int) -> bool:
    """Return whether the file does not end with the size of its last tag. A complete file does."""
    tag = _number(file, size - 4, 4)
    return not (11 <= tag <= size - 13 and _number(file, size - 4 - tag + 1, 3) == tag - 11)


def _asf(file: BinaryIO, size: int) -> bool:
    header = _bytes(file, 0, 4096)
    at = header.find(ASF_FILE_PROPERTIES)
    return at >= 0 and int.from_bytes(header[at + 40 : at + 48], "little") > size


def _ts(file: BinaryIO, size: int) -> bool:
    """Return whether the last packet is incomplete. A stream that was cut between two packets looks complete."""
    return _bytes(file, TS_PACKET, 1) == TS_SYNC and size % TS_PACKET != 0


def _m2ts(file: BinaryIO, size: int) -> bool:
    return _bytes(file, M2TS_PACKET + 4, 1) == TS_SYNC and size % M2TS_PACKET != 0


def _bytes(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _number(file: BinaryIO, at: int, count: int, order: str = "big") -> int:
    return int.from_bytes(_bytes(file, at, count), "little" if order == "little" else "big")


_LOOKS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], bool]], ...] = (
    (lambda start: start[4:8] in ISO_BOXES, _iso),
    (lambda start: start.startswith(EBML_HEADER), _matroska),
    (lambda start: start.startswith(b"RIFF") and start[8:11] == b"AVI", _riff),
    (lambda start: start.startswith(b"OggS"), _ogg),
    (lambda start: start.startswith(b"FLV"), _flv),
    (lambda start: start == ASF_HEADER, _asf),
    (lambda start: start.startswith(TS_SYNC), _ts),
    (lambda start: start[4:5] == TS_SYNC, _m2ts),
)
