"""A video on standard input -> a file, because the video is read twice: once for the frames and once for the sound."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack
from typing import BinaryIO

from mien.errors import UnreadableError
from mien.media.images import ReadLimits
from mien.media.video import Clip, open_video

DASH = "-"


def open_input(source: str, stack: ExitStack, *, stdin: BinaryIO | None = None, limits: ReadLimits = ReadLimits()) -> Clip:
    """Return the video at ``source``, where ``-`` means standard input.

    Standard input is read to its end into a temporary file, because the index of an MP4 may be at the end. The file is removed when
    ``stack`` is closed.

    Args:
        source: see :func:`mien.media.video.open_video`.
        stack: owns the temporary file.
        stdin: the process's standard input if None.
        limits: bounds on the size of a frame.

    Raises:
        UnreadableError: there is no standard input.
        MediaError: see :class:`mien.media.video.Video`.
        OSError: there is no space for the temporary file.
    """
    if source != DASH:
        return open_video(source, limits=limits)
    given = stdin or (sys.stdin.buffer if sys.stdin else None)
    if given is None:
        raise UnreadableError("expected a video on standard input, got no input at all; pipe one in or name a file")
    copy = stack.enter_context(tempfile.NamedTemporaryFile(prefix="mien-stdin-"))  # noqa: SIM115  (closed with the stack)
    shutil.copyfileobj(given, copy)
    copy.flush()
    return open_video(copy.name, limits=limits, name=DASH)
