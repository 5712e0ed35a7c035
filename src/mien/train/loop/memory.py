"""Lets the process keep memory that a training step has freed."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # malloc.h of glibc
LARGEST = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> bool:
    """Keep freed memory in this process for its next step instead of returning it to Linux; return False where that is not possible.

    Every step frees the activations of a batch and asks for as much again. glibc maps each large block anew and unmaps it when it is
    freed, so that the kernel clears every page of every step: up to half the time of a step of a small network on a CPU. Kept blocks
    are reused as they are; the process stays as large as its largest step.

    Source: mallopt(3). Blocks that were mapped before the call are still returned.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    return hasattr(libc, "gnu_get_libc_version") and all(
        libc.mallopt(key, value) for key, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, LARGEST), (TOP_PAD, 2**26))
    )
