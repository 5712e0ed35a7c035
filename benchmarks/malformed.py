"""Makes broken and hostile uploads in endless variety, and sends them to a service. The soak and the tests use it."""

from __future__ import annotations

import gzip
import io
import random
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from urllib.parse import urlsplit

from PIL import Image

from mien.assets import demo_photo

Raw = bytes
TIMEOUT_S = 60.0
SLOW_S = 0.3


def one(number: int, seed: int = 0) -> tuple[str, Raw]:
    """Return (kind, bytes of a whole HTTP request). The same number and seed give the same request."""
    rng = random.Random(f"{seed}/{number}")
    kind = sorted(KINDS)[number % len(KINDS)]
    return kind, KINDS[kind](rng)


def send(address: str, kind: str, request: Raw) -> int:
    """Send a request as its kind demands, and return the HTTP status. It is 0 if the service closes the connection without one.

    Raises:
        TimeoutError: the service does not answer.
    """
    where = urlsplit(address)
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=TIMEOUT_S) as sock:
        try:
            if kind == "slow body":
                for start in range(0, len(request), max(1, len(request) // 5)):
                    sock.sendall(request[start : start + max(1, len(request) // 5)])
                    time.sleep(SLOW_S / 5)
            else:
                sock.sendall(request)
            if kind in ("half-closed", "body that stops"):
                sock.shutdown(socket.SHUT_WR)
            if kind == "caller leaves":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return 0
            answer = sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):  # the service refused before everything was sent
            return 0
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def _post(body: bytes, kind: str = "image/jpeg", path: str = "/v1/analyze", length: int | None = None, extra: str = "") -> Raw:
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n{extra}\r\n"
    return head.encode("latin-1") + body


def _form(*parts: tuple[str, str, bytes], path: str = "/v1/analyze", end: bytes = b"--edge--\r\n") -> Raw:
    body = b"".join(
        b"--edge\r\n"
        + f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'.encode(
            "utf-8", "surrogateescape"
        )
        + data
        + b"\r\n"
        for field, name, data in parts
    )
    return _post(body + end, "multipart/form-data; boundary=edge", path)


def _picture(rng: random.Random) -> bytes:
    out = io.BytesIO()
    with Image.open(demo_photo()) as photo:
        x, y = rng.randrange(300), rng.randrange(300)
        crop = photo.crop((x, y, x + rng.randrange(8, 160), y + rng.randrange(8, 160)))
    crop.save(out, rng.choice(["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "PPM"]))
    return out.getvalue()


def _cut(rng: random.Random) -> Raw:
    data = _picture(rng)
    return _post(data[: rng.randrange(len(data))])


def _damaged(rng: random.Random) -> Raw:
    data = bytearray(_picture(rng))
    for _ in range(rng.randrange(1, 30)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return _post(bytes(data))


def png(width: int, height: int, rows: bytes) -> bytes:
    """Return a grey PNG whose header says ``width`` x ``height`` and whose pixel data are ``rows``."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def _huge(rng: random.Random) -> Raw:
    return _post(png(rng.choice([2**16, 2**20, 2**31 - 1]), rng.choice([2**12, 2**20, 2**31 - 1]), b"\0" * 1000))


def _bomb(rng: random.Random) -> Raw:
    side = rng.randrange(5_000, 6_000)  # 25 to 36 megapixels of one value: within the limit, and small to send
    return _post(png(side, side, bytes(side + 1) * side))


def _zip(rng: random.Random) -> Raw:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../x.jpg", b"\0" * rng.randrange(10**6))
    return _post(out.getvalue(), rng.choice(["application/zip", "image/jpeg"]))


def _svg(rng: random.Random) -> Raw:
    body = b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'
    return _post(body * rng.randrange(1, 50), rng.choice(["image/svg+xml", "image/png"]))


def _noise(rng: random.Random) -> Raw:
    magic = rng.choice(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0*", b"BM", b"P6\n", b"\0\0\0\x0cjP  \r\n\x87\n", b"RIFF"]
    )
    return _post(magic + rng.randbytes(rng.randrange(5000)), rng.choice(["image/jpeg", "application/octet-stream", "image/\u00e9"]))


def _names(rng: random.Random) -> Raw:
    names = [
        "../../../etc/passwd",
        "C:\\windows\\system32\\x",
        "/dev/zero",
        "a" * 4000,
        "\u202egnp.exe",
        "x\0y",
        "%2e%2e%2f",
        "' OR 1=1 --",
        "<script>",
    ]
    return _form(*(("file", rng.choice(names), _picture(rng)) for _ in range(rng.randrange(1, 4))))


def _fields(rng: random.Random) -> Raw:
    return _form((rng.choice(["", "file[]", "../file", "f" * 9000, "fil\u00e9"]), "a.png", _picture(rng)))


def _unfinished(rng: random.Random) -> Raw:
    return _form(("file", "a.png", _picture(rng)), end=rng.choice([b"", b"--edge", b"--wrong--\r\n"]))


def _lying(rng: random.Random) -> Raw:
    return _post(_picture(rng), length=rng.choice([0, 1, 10**12, 2**63]))


def _odd_length(rng: random.Random) -> Raw:
    return _post(_picture(rng)).replace(b"Content-Length: ", b"Content-Length: " + rng.choice([b"-", b"+", b"0x", b"a"]), 1)


def _compressed(rng: random.Random) -> Raw:
    return _post(gzip.compress(b"\0" * rng.randrange(10**6)), extra="Content-Encoding: gzip\r\n")


def _video(rng: random.Random) -> Raw:
    heads = [
        b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
        b"\x1a\x45\xdf\xa3",
        b"RIFF\xff\xff\xff\xffAVI LIST",
        b"OggS\0\2",
        b"FLV\1\5",
        b"#EXTM3U\nfile:///etc/passwd",
    ]
    return _form(("file", "v.mp4", rng.choice(heads) + rng.randbytes(rng.randrange(3000))), path="/v1/video")


def _query(rng: random.Random) -> Raw:
    query = rng.choice(
        ["max_faces=-1", "max_faces=1e9", "explain=%00", "url=file:///etc/passwd", "max_faces=" + "9" * 500, "%ff=%fe", "&&&==="]
    )
    return _post(_picture(rng), path=f"/v1/analyze?{query}")


def _path(rng: random.Random) -> Raw:
    paths = [
        "/page/../../etc/passwd",
        "/page/%2e%2e/%2e%2e/app.py",
        "/v1/video/../../etc",
        "/v1/models/%00/model.onnx",
        "/" + "a" * 5000,
        "//v1//analyze",
    ]
    return f"GET {rng.choice(paths)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def _no_http(rng: random.Random) -> Raw:
    return (
        rng.choice([b"\x16\x03\x01\x02\0\x01\0", b"GET\r\n\r\n", b"\0" * 100, b"POST / HTTP/9.9\r\n\r\n"]) + rng.randbytes(50) + b"\r\n\r\n"
    )


def _stops(rng: random.Random) -> Raw:
    data = _picture(rng)
    return _post(data[: len(data) // 2], length=len(data))


KINDS: dict[str, Callable[[random.Random], Raw]] = {
    "cut short": _cut,
    "damaged": _damaged,
    "huge size": _huge,
    "bomb": _bomb,
    "zip": _zip,
    "svg": _svg,
    "noise": _noise,
    "path-like names": _names,
    "odd fields": _fields,
    "form cut short": _unfinished,
    "length that lies": _lying,
    "length that is none": _odd_length,
    "compressed": _compressed,
    "no video": _video,
    "odd question": _query,
    "odd path": _path,
    "no http": _no_http,
    "slow body": lambda rng: _post(_picture(rng)),
    "half-closed": lambda rng: _post(_picture(rng)),
    "body that stops": _stops,
    "caller leaves": lambda rng: _post(_picture(rng)),
}
