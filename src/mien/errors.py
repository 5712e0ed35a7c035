"""All errors that Mien raises on purpose, as one tree.

::

    MienError
    ├── UsageError              the call itself is wrong (also a ValueError)
    ├── MissingExtraError       an optional dependency is not installed (also an ImportError)
    ├── MediaError              one input cannot be read as a picture or video
    │   ├── NotFoundError       missing path, HTTP 404
    │   ├── UnreadableError     no permission, or the system refused to read
    │   ├── UnsupportedMediaError   not an image that Mien reads
    │   ├── CorruptMediaError   truncated or damaged
    │   ├── TooLargeError       over the limit on bytes or pixels
    │   ├── FetchError          a URL that times out, loops or refuses
    │   ├── ChangedError        a file that has changed since the job was planned
    │   └── CrashedError        a file that crashed the process, more than once
    ├── BundleError             a model folder that is missing, damaged or not a bundle
    ├── DetectorError           a face detector that cannot run here
    ├── JobError                a batch job that cannot start or continue
    ├── ServiceError            a service that refuses, fails, or does not answer
    └── TrainingError           the training wing
        ├── DataError           a data set that is incomplete or inconsistent
        ├── RecipeError         a recipe with an unknown key or a bad value
        ├── DivergedError       the loss became NaN or infinite
        └── ExportError         an export that differs from its source

Each class has a stable ``code``, which error records contain in JSON Lines, CSV and REST answers.
"""

from __future__ import annotations

import hashlib
import re

MAX_SHOWN = 8000  # maximum characters of an input in a message or record; a path has at most 4,096
DATA_SHOWN = 24
LOGIN = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/?#\s]*@")
DATA_URI = re.compile(r"(?i)\b(data:[^,\s]{0,200},)(\S+)")


def presentable(text: str) -> str:
    """Return a text that may be shown and stored: without user and password in addresses, and without long data.

    >>> presentable("no answer from https://ann:secret@example.org/a.jpg")
    'no answer from https://***@example.org/a.jpg'
    >>> presentable("data:image/gif;base64," + "A" * 3000)
    'data:image/gif;base64,AAAAAAAAAAAAAAAAAAAAAAAA... (3,000 characters, sha256 f2eb8896)'
    """
    text = DATA_URI.sub(_shortened, LOGIN.sub(r"\1***@", text))
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[: MAX_SHOWN // 2]}... ({len(text):,} characters) ...{text[-MAX_SHOWN // 4 :]}"


def _shortened(found: re.Match[str]) -> str:
    head, data = found.groups()
    if len(data) <= 2 * DATA_SHOWN or data.startswith(f"{data[:DATA_SHOWN]}... ("):
        return f"{head}{data}"
    digest = hashlib.sha256(data.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{head}{data[:DATA_SHOWN]}... ({len(data):,} characters, sha256 {digest[:8]})"


class MienError(Exception):
    """Base of all deliberate errors. The message says what was expected, what was given and what to do; it is :func:`presentable`."""

    code = "error"

    def __init__(self, *parts: object) -> None:
        super().__init__(*(presentable(part) if isinstance(part, str) else part for part in parts))


class MienWarning(UserWarning):
    """A warning about work that succeeded. The command line prints it as one line."""


class UsageError(MienError, ValueError):
    code = "usage"


class MissingExtraError(MienError, ImportError):
    code = "missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package {package!r}, which is not installed; run: pip install 'mien[{extra}]'")
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.package, self.extra)


class MediaError(MienError):
    code = "media"


class NotFoundError(MediaError):
    code = "not_found"


class UnreadableError(MediaError):
    code = "unreadable"


class UnsupportedMediaError(MediaError):
    code = "unsupported_media"


class CorruptMediaError(MediaError):
    code = "corrupt_media"


class TooLargeError(MediaError):
    code = "too_large"


class FetchError(MediaError):
    """``transient`` is True if a retry can help."""

    code = "fetch_failed"

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class ChangedError(MediaError):
    code = "changed"


class CrashedError(MediaError):
    code = "crashed"


class BundleError(MienError):
    code = "bundle"


class DetectorError(MienError):
    code = "detector"


class JobError(MienError):
    code = "job"


class ServiceError(MienError):
    """``status`` is the HTTP status, or None without an answer. ``reason`` is the stable error code of the service."""

    code = "service"

    def __init__(self, message: str, *, status: int | None = None, reason: str = "unreachable") -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class TrainingError(MienError):
    code = "training"


class DataError(TrainingError):
    code = "data"


class RecipeError(TrainingError):
    code = "recipe"


class DivergedError(TrainingError):
    code = "diverged"


class ExportError(TrainingError):
    code = "export"
