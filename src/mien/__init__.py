"""Facial emotion recognition: photos in, seven calibrated probabilities per face out.

>>> import mien
>>> mien.LABELS
('angry', 'disgust', 'fear', 'happy', 'neutral', 'sad', 'surprise')

:func:`analyze` is for a single call. :class:`Pipeline` does the same and keeps the models loaded. Importing this package is fast: each
name is loaded at its first use.

Mien reports expressions *as annotators label them*, never what a person feels. Do not use it for decisions about people.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mien.version import __version__

_HOME = {
    "LABELS": "mien.contract",
    "Emotions": "mien.results",
    "ErrorResult": "mien.results",
    "Face": "mien.results",
    "FrameResult": "mien.results",
    "MienError": "mien.errors",
    "Pipeline": "mien.pipeline",
    "analyze": "mien.pipeline",
}

if TYPE_CHECKING:
    from mien.contract import LABELS
    from mien.errors import MienError
    from mien.pipeline import Pipeline, analyze
    from mien.results import Emotions, ErrorResult, Face, FrameResult

__all__ = ["LABELS", "Emotions", "ErrorResult", "Face", "FrameResult", "MienError", "Pipeline", "__version__", "analyze"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
