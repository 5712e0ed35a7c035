"""Memory that large photos took goes back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return the C library's free memory, which it would keep for as long as the process lives; does nothing where it is not glibc."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
