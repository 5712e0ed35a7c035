"""Annotated copies of photos, one file per photo. No two photos share a name."""

from __future__ import annotations

from pathlib import Path, PurePath

from PIL import Image

from mien.arrays import Frame
from mien.atomic import atomic_write
from mien.draw import annotate
from mien.errors import UsageError
from mien.results import FrameResult

ANNOTATED = ".annotated.jpg"  # the ending of every name
JPEG_QUALITY = 90


class Pictures:
    """A folder that receives one ``NAME.annotated.jpg`` per photo."""

    def __init__(self, folder: Path, overwrite: bool) -> None:
        """Make the folder.

        Raises:
            UsageError: the folder cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--annotate needs a folder that can be written, {folder} cannot: {error.strerror}") from None
        self._folder, self._overwrite = folder, overwrite
        self._used: set[str] = set()

    def save(self, result: FrameResult, frame_rgb: Frame) -> str | None:
        """Write the annotated copy of one photo. Return the error message, or None after success.

        Photos of the same name from different folders receive ``-2``, ``-3``, ... in the order in which they come.
        """
        file = self._folder / self._name(result.source)
        if file.exists() and not self._overwrite:
            return f"{file} exists; add --overwrite to replace it"
        try:
            with atomic_write(file, ending=f".part{file.suffix}") as draft:
                Image.fromarray(annotate(frame_rgb, result)).save(draft, quality=JPEG_QUALITY)
        except OSError as error:
            return f"{file} could not be written: {error.strerror or error}"
        return None

    def _name(self, source: str) -> str:
        stem = PurePath(source.partition("?")[0]).stem.strip("<>?") or "photo"
        number, name = 1, stem
        while name in self._used:
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name)
        return f"{name}{ANNOTATED}"
