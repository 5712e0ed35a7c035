"""Shared functions of the benchmarks: timing, a description of the machine, memory, and Markdown tables."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

VECTORS = {"amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx512f": "AVX-512", "avx_vnni": "AVX2 VNNI", "avx2": "AVX2"}  # widest first


def median_ms(work: Callable[[], object], repeats: int = 30, warm_up: int = 3) -> float:
    """Return the median wall time of ``work`` in milliseconds."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def machine(packages: Iterable[str] = ("numpy", "onnxruntime", "pillow")) -> str:
    """Return a line that describes the machine and the versions of ``packages``."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        facts = dict(line.split(":", 1) for line in reversed(info.read_text(encoding="utf-8").splitlines()) if ":" in line)
        told = {key.strip(): value.split() for key, value in facts.items()}
        cpu = " ".join(told.get("model name", [cpu]))
        # Processors with the same name differ in this, and so do their int8 and float speeds.
        widest = next((name for flag, name in VECTORS.items() if flag in told.get("flags", ())), None)
        cpu += f" ({widest})" if widest else ""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {versions}"


def memory_mb(key: str = "VmHWM") -> float:
    """Return the peak resident memory of this process in MB (10^6 bytes). With ``VmRSS``, return the memory that it holds now.

    Only Linux reports both. Elsewhere the value is the peak from getrusage, which starts with the memory of the parent process.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (kilobytes,) = (line.split()[1] for line in status.read_text(encoding="ascii").splitlines() if line.startswith(f"{key}:"))
        return int(kilobytes) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(str(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
