"""One input of a job. It is one line of the plan."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Literal

from mien.media.images import display_name
from mien.results import ErrorResult

Kind = Literal["photo", "video", "error"]
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".3gp", ".wmv", ".flv", ".ogv")


@dataclass(frozen=True)
class Input:
    """One input: where to read it, and its state when the job was planned.

    ``name`` is the ``source`` of its records. ``place`` is the absolute path or the address of the file, or of the archive that contains
    it. ``member`` is its position in the archive: the first byte of a tar member, or the number of a zip member. ``size`` in bytes and
    ``changed_ns`` (modification time of the file or archive, in ns) are None if unknown. ``error`` is set for an input that is known to be
    unreadable.
    """

    name: str
    kind: Kind = "photo"
    place: str = ""
    size: int | None = None
    changed_ns: int | None = None
    packing: str = ""
    member: int | None = None
    archive_size: int | None = None
    code: str = ""
    message: str = ""

    def to_line(self) -> str:
        r"""Return one line of JSON without the fields that have their default. Every file name is possible.

        >>> Input.from_line(Input("a\nb", place="/a\nb").to_line()).place
        '/a\nb'
        """
        return json.dumps({key: value for key, value in asdict(self).items() if value != _DEFAULTS[key]}) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> Input:
        """Return the input that :meth:`to_line` wrote."""
        return cls(**json.loads(line))

    @classmethod
    def of_error(cls, error: ErrorResult) -> Input:
        """Return an input that becomes this error record."""
        return cls(error.source, "error", code=error.code, message=error.message)

    @property
    def identity(self) -> str:
        """A text that is equal for two entries of the same input."""
        return f"{self.place}\0{'' if self.member is None else self.member}" if self.place else f"{self.name}\0{self.code}"


_DEFAULTS = {field.name: field.default for field in fields(Input)}


def kind_of(name: str) -> Kind:
    """Return the kind of a file by its ending: video for the endings of videos, else photo."""
    return "video" if name.lower().endswith(VIDEO_SUFFIXES) else "photo"


def shown(place: str) -> str:
    """Return a path or an address as text that every encoding can write."""
    return display_name(place)
