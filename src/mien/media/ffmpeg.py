"""FFmpeg through PyAV: opens files within limits, turns its errors into ours, and returns frames as a usual screen shows them."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import (
    CorruptMediaError,
    FetchError,
    MediaError,
    MissingExtraError,
    NotFoundError,
    UnreadableError,
    UnsupportedMediaError,
)
from mien.media.images import VIDEOS

if TYPE_CHECKING:
    import av.container

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 20.0, 10.0  # for a network stream that stalls
# FFmpeg's options for an untrusted file. The formats exclude playlists and lists of files; the protocols exclude the network.
SELF_CONTAINED = {"format_whitelist": "mov,mp4,matroska,webm,avi,ogg,flv,mpeg,live_flv", "protocol_whitelist": "file"}
BEFORE_PICTURES = (b"ftyp", b"wide", b"free", b"skip", b"uuid")  # boxes that an MP4 or MOV may begin with
HEAD = 4096  # bytes that are searched for these boxes
PQ, HLG = 16, 18  # transfer characteristics of HDR video in ITU-T H.273


def import_av() -> Any:
    """Return PyAV.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    try:
        import av
    except ModuleNotFoundError:
        raise MissingExtraError("av", "video") from None
    return av


@contextmanager
def reading(name: str, source: str | Path | None = None, *, began: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Turn FFmpeg's errors into a MediaError that names the source.

    ``source`` is the path or address, if it differs from the name. ``began`` returns whether a frame has been returned already.
    """
    av = import_av()
    try:
        yield
    except MediaError:
        raise
    except av.error.FFmpegError as error:
        if not began() and has_late_index(str(source or name)):
            raise FetchError(
                f"expected a video that can be read from its start at {name}, got an MP4 with its index at the end, from a server without "
                "range requests; download it and name the file, or put the index first (ffmpeg -i in.mp4 -c copy -movflags +faststart)"
            ) from None
        raise _media_error(name, str(source or name), error) from None


def as_ffmpeg(source: str | Path) -> str:
    """Return the absolute path of a file, because FFmpeg reads text before a colon as a protocol. Addresses stay unchanged."""
    return os.path.abspath(source) if os.path.exists(source) else str(source)  # noqa: PTH100, PTH110  (Path.exists can raise)


def open_container(source: str | Path, device: str | None, options: dict[str, str]) -> av.container.InputContainer:
    """Return an opened file or stream. ``device`` is FFmpeg's name of a capture system. Call it inside :func:`reading`."""
    container: av.container.InputContainer = import_av().open(
        as_ffmpeg(source), format=device, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S), metadata_errors="replace", options=options
    )
    return container


def rgb(frame: Any, width: int, height: int) -> NDArray[np.uint8]:
    """Return a decoded frame as upright RGB, uint8 (H, W, 3). It is resized to ``width`` and ``height`` before it is rotated."""
    pixels = np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height))
    if int(frame.color_trc) in (PQ, HLG):
        pixels = hdr_table(int(frame.color_trc))[pixels]
    return np.ascontiguousarray(_as_shown(pixels, frame))


def _as_shown(pixels: NDArray[np.uint8], frame: Any) -> NDArray[np.uint8]:
    """Return the pixels rotated and mirrored by the frame's display matrix, rounded to the nearest of the eight orientations.

    The matrix maps (x, y) to (a x + c y, b x + d y), y pointing down (ISO/IEC 14496-12, 6.2.2; FFmpeg's display.h).
    """
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know all side data that FFmpeg adds to a frame, such as EXIF
        return np.rot90(pixels, frame.rotation // 90)
    if data is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):  # the x axis becomes vertical
        pixels, a, d = np.swapaxes(pixels, 0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def progressive(frames: Iterable[Any], stream: Any) -> Iterator[Any]:
    """Yield the frames. From the first interlaced frame on, all are deinterlaced (FFmpeg's yadif)."""
    graph = None
    for frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        graph = graph or _deinterlacer(stream)
        graph.push(frame)
        yield from _ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)


def _deinterlacer(stream: Any) -> Any:
    av = import_av()
    graph = av.filter.Graph()
    graph.link_nodes(graph.add_buffer(template=stream), graph.add("yadif", "deint=interlaced"), graph.add("buffersink")).configure()
    return graph


def _ready(graph: Any) -> Iterator[Any]:
    av = import_av()
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def hdr_table(transfer: int) -> NDArray[np.uint8]:
    """Return the standard (SDR) value for every 8-bit HDR value, uint8 (256,).

    The curves are those of ITU-R BT.2100. Diffuse white is 203 cd/m2 (ITU-R BT.2408); brighter light is compressed.
    """
    signal = np.linspace(0, 1, 256)
    if transfer == PQ:
        root = signal ** (1 / 78.84375)
        light = 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    else:
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        light = 1000 * scene**1.2
    linear = light / 203
    shown = linear * (1 + linear / 16) / (1 + linear)  # Reinhard's curve, white at four times diffuse white
    return np.asarray(np.rint(255 * np.clip(shown, 0, 1) ** (1 / 2.2)), np.uint8)


def _media_error(name: str, source: str, error: Any) -> MediaError:
    av = import_av()
    reason = error.strerror or error
    if isinstance(error, (av.error.FileNotFoundError, av.error.HTTPNotFoundError)):
        return NotFoundError(f"expected a video at {name}, which does not exist; check the path or address")
    if isinstance(error, (av.error.PermissionError, av.error.IsADirectoryError)):
        return UnreadableError(f"expected to read {name}, which the system refuses ({reason}); check its permissions")
    if "://" in source:
        return FetchError(f"expected a video stream at {name}, got no more of it ({reason}); check the address and the network")
    if isinstance(error, (av.error.InvalidDataError, av.error.EOFError)):
        if _starts_like_a_video(source):
            return CorruptMediaError(f"expected a whole video, got {name}, which is cut short or damaged; copy or record it again")
        return UnsupportedMediaError(f"expected a video, got {name}, in which FFmpeg finds none; convert it to MP4 or check the path")
    return UnreadableError(f"expected to read the video {name}, got an error of the system ({reason}); try again or copy the file")


def has_late_index(address: str) -> bool:
    """Return whether an http(s) address is an MP4 or MOV with its index after the frames, on a server without range requests."""
    if not address.lower().startswith(("http://", "https://")):
        return False
    request = urllib.request.Request(address, headers={"Range": f"bytes=0-{HEAD - 1}"})  # noqa: S310  (http and https only)
    try:
        with urllib.request.urlopen(request, timeout=READ_TIMEOUT_S) as answer:  # noqa: S310
            start = b"" if answer.status == HTTPStatus.PARTIAL_CONTENT else answer.read(HEAD)
    except (OSError, ValueError, HTTPException):
        return False
    while start[4:8] in BEFORE_PICTURES and (length := int.from_bytes(start[:4])) >= 8:
        start = start[length:]
    return start[4:8] == b"mdat"


def _starts_like_a_video(name: str) -> bool:
    start = start_of(name)
    return start is not None and (not start or VIDEOS.match(start) is not None)


def start_of(name: str, count: int = 16) -> bytes | None:
    """Return the first bytes of a file, or None if there is no file that can be read."""
    try:
        if not os.path.isfile(name):  # noqa: PTH113  (do not read from a pipe; Path.is_file can raise)
            return None
        with Path(name).open("rb") as file:
            return file.read(count)
    except OSError:
        return None
