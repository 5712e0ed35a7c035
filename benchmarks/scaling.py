"""Estimates the time and cost of ten million photos and a hundred thousand hours of video from measured figures.

``python -m benchmarks.batch docs`` writes its tables into docs/scaling.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import markdown

DOCS = Path(__file__).parent.parent / "docs" / "scaling.md"
RESULTS = Path(__file__).parent / "results"
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
PHOTOS, HOURS = 10_000_000, 100_000
CORES = (2, 16, 128, 1024, 8192)
SHARD = 256  # photos
# Dollars per hour of a machine with 16 virtual cores, on demand, in the United States. Source: AWS's guide to mixed fleets.
PRICES = {"AWS c5.4xlarge": 0.68}
DOLLARS_A_GET = 0.0004 / 1000  # for S3's standard storage
GETS_A_SECOND = 5_500  # per S3 prefix, as Amazon documents
NODE_CORES, NODE_BYTES_A_SECOND = 16, 12.5e9 / 8  # a machine and its network
VIDEO_BYTES_A_MINUTE = 60 * 2e6 / 8  # of 640x480 at 2 Mbit/s


@dataclass(frozen=True)
class Load:
    """One kind of input: core seconds, bytes read and bytes written per input, and the number of inputs per finished part."""

    name: str
    count: float
    core_s: float
    read: float
    written: float
    a_part: float

    def hours(self, cores: int) -> float:
        """Hours on ``cores`` cores, if nothing else is slower."""
        return self.count * self.core_s / cores / 3600

    def rate(self, cores: int) -> float:
        """Inputs per second on ``cores`` cores."""
        return cores / self.core_s


def loads(speed: dict[str, Any]) -> tuple[Load, ...]:
    """Return the loads from the measured figures. They include the overhead of the workers."""
    over = max(1.0, 1 / speed["all workers / pipeline alone"])
    record = speed["record: bytes written"]
    minutes = 60 * HOURS

    def video(name: str, key: str) -> Load:
        clip = f"video minute of 640x480, 30 frames/s, {key}"
        records = speed[f"{clip}: records"]
        return Load(name, minutes, over * speed[f"{clip}: core s"], VIDEO_BYTES_A_MINUTE, record * records, 30)

    return (
        Load(
            "10 M photos of 640x480", PHOTOS, over * speed["photo of 640x480: core s"], speed["photo of 640x480: bytes read"], record, SHARD
        ),
        Load(
            "10 M photos of 12 megapixels",
            PHOTOS,
            over * speed["photo of 12 MP: core s"],
            speed["photo of 12 MP: bytes read"],
            record,
            SHARD,
        ),
        video("100,000 h of video, every frame", "every frame"),
        video("100,000 h of video, a frame a second", "a frame a second"),
    )


def hours_table(speed: dict[str, Any]) -> str:
    """Return the hours for each number of cores."""
    rows = [(load.name, f"{load.core_s:.3g}", *(_hours(load.hours(cores)) for cores in CORES)) for load in loads(speed)]
    return markdown(("job", "core s, photo or minute", *(f"{cores:,} cores" for cores in CORES)), rows)


def needs_table(speed: dict[str, Any]) -> str:
    """Return what a thousand cores demand from network, object store and driver, and the number of cores at which each is saturated."""
    take_s = speed["driver: ms a part"] / 1000
    rows = []
    for load in loads(speed):
        rate = load.rate(1024)
        node = load.rate(NODE_CORES) * load.read
        parts = rate / load.a_part
        full = {
            "requests": GETS_A_SECOND / rate * 1024,
            "the driver": 1 / take_s / parts * 1024,
            "the driver's network": NODE_BYTES_A_SECOND / (rate * load.written) * 1024,
        }
        if node > NODE_BYTES_A_SECOND:
            full["a machine's network"] = NODE_CORES * NODE_BYTES_A_SECOND / node
        first = min(full, key=lambda name: full[name])
        rows.append(
            (
                load.name,
                f"{rate * load.read / 1e6:,.0f} MB/s",
                f"{rate:,.0f}",
                f"{node / NODE_BYTES_A_SECOND:.1%}",
                f"{parts:.2f}",
                f"{rate * load.written / 1e6:.1f} MB/s",
                f"{first}, at {full[first]:,.0f} cores",
            )
        )
    head = ("job", "read", "requests/s", f"network of a {NODE_CORES}-core machine", "parts/s", "written by the driver", "full first")
    return markdown(head, rows)


def price_table(speed: dict[str, Any], prices: Mapping[str, float] = PRICES) -> str:
    """Return dollars per kind of machine with 16 virtual cores. The number of machines has no effect if all are busy."""
    rows = []
    for load in loads(speed):
        machine_hours = load.hours(NODE_CORES)
        dollars = (f"{machine_hours * price:,.0f}" for price in prices.values())
        rows.append((load.name, f"{machine_hours:,.0f}", f"{load.count * DOLLARS_A_GET:.2f}", *dollars))
    return markdown(("job", "machine hours", "S3 requests, $", *(f"{name} at {price} $/h, $" for name, price in prices.items())), rows)


def measured_table(speed: dict[str, Any]) -> str:
    """Return the measured figures on which the estimates are based."""
    return markdown(("what", "figure"), list(speed.items()))


def plain_table(figures: dict[str, Any]) -> str:
    """Return the figures of a part. Samples over time are only in the file."""
    return markdown(("what", "figure"), [(key, _plain(value)) for key, value in figures.items() if not isinstance(value, list)])


BLOCKS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "measured": ("speed", measured_table),
    "hours": ("speed", hours_table),
    "needs": ("speed", needs_table),
    "prices": ("speed", price_table),
    "kills": ("kills", plain_table),
    "large": ("large", plain_table),
}


def rewritten(text: str) -> str:
    """Return the page in which every block is replaced from the results."""

    def block(match: re.Match[str]) -> str:
        part, table = BLOCKS[match[2]]
        result = json.loads((RESULTS / f"batch-{part}.json").read_text(encoding="utf-8"))
        return f"{match[1]}{table(result['figures'])}\n\n{result['machine']}.\n{match[3]}"

    return BLOCK.sub(block, text)


def write_docs(*, check: bool) -> int:
    """Rewrite docs/scaling.md. With ``check``, only compare, and return 1 if it has old figures."""
    old = DOCS.read_text(encoding="utf-8")
    new = rewritten(old)
    if check:
        return int(old != new)
    DOCS.write_text(new, encoding="utf-8")
    return 0


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return "below 1 min"
    if hours < 2:
        return f"{60 * hours:,.0f} min"
    return f"{hours:,.0f} h" if hours < 72 else f"{hours / 24:,.0f} days"


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
