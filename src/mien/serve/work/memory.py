"""Returns the memory of large photos to the operating system."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return the free memory of the C library to the system, which glibc would otherwise keep. Does nothing without glibc."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
