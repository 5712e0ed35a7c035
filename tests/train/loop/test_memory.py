"""Memory that a step has freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy as np
from mien.train.loop.memory import keep_freed_memory

if {keep}:
    assert keep_freed_memory()
def step():
    blocks = [np.full(500_000, 1.0, np.float32) for _ in range(16)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told")
def test_kept_memory_spares_the_kernel_clearing_pages_again() -> None:
    returned, kept = (_page_faults(keep) for keep in (False, True))

    assert kept < returned / 10


def _page_faults(keep: bool) -> int:
    done = subprocess.run([sys.executable, "-c", STEPS.format(keep=keep)], stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)
