"""Makes the process keep the memory that a training step has freed."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # malloc.h of glibc
LARGEST = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> bool:
    """Keep freed memory in this process for the next step instead of returning it to Linux. Return False if that is not possible.

    Every step frees the activations of a batch, and the next step allocates as much again. By default, glibc maps each large block
    newly and unmaps it when it is freed. The kernel then clears every page in every step, which takes up to half the time of a step of a
    small network on a CPU. Kept blocks are reused without clearing. The process stays as large as its largest step.

    Source: mallopt(3). Blocks that were mapped before the call are still returned to Linux.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    return hasattr(libc, "gnu_get_libc_version") and all(
        libc.mallopt(key, value) for key, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, LARGEST), (TOP_PAD, 2**26))
    )
