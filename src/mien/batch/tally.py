"""The counts of a shard, as in a line of the manifest, and their sum over the whole job."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mien.results import ErrorResult, Record

SLOWEST_OF_SHARD, SLOWEST = 5, 20  # number of inputs whose names are stored
BINS = 20  # in the histogram of confidence
MAY_PASS = ("fetch_failed", "unreadable", "crashed")  # codes of errors for which a retry can help


@dataclass
class Tally:
    """Counts of inputs and records. A video is one input with one record per frame; ``errors`` are counts per code.

    ``confidence`` counts faces in 20 equal bins from 0 to 1; ``slowest`` are (seconds, name), slowest first.
    """

    inputs: int = 0
    photos: int = 0
    videos: int = 0
    frames: int = 0
    records: int = 0
    rows: int = 0
    empty: int = 0
    faces: int = 0
    uncertain: int = 0
    seconds: float = 0.0
    top: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    confidence: list[int] = field(default_factory=lambda: [0] * BINS)
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def add_record(self, record: Record) -> None:
        """Count one record."""
        self.records += 1
        if isinstance(record, ErrorResult):
            self.rows += 1
            self.errors[record.code] = self.errors.get(record.code, 0) + 1
            return
        if record.frame_index is None:
            self.photos += 1
        else:
            self.frames += 1
        self.rows += max(1, len(record.faces))
        self.empty += not record.faces
        for face in record.faces:
            shown = face.smoothed or face.emotions
            self.faces += 1
            self.uncertain += face.uncertain
            self.top[shown.top] = self.top.get(shown.top, 0) + 1
            self.confidence[min(BINS - 1, int(BINS * shown.confidence))] += 1

    def add_seconds(self, seconds_by_name: Mapping[str, float]) -> None:
        """Add the time of each input, in seconds."""
        pairs = [*self.slowest, *((round(seconds, 3), name) for name, seconds in seconds_by_name.items())]
        self.slowest = heapq.nlargest(SLOWEST_OF_SHARD, pairs)

    @property
    def adds_up(self) -> bool:
        """Whether every photo has exactly one record, and all other records are frames or errors."""
        return self.records == self.photos + self.frames + sum(self.errors.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Tally:
        """Return the tally from the values of :meth:`to_dict`."""
        return cls(**{**values, "slowest": [(float(seconds), str(name)) for seconds, name in values["slowest"]]})


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of the tallies.

    >>> total([Tally(inputs=2, errors={"corrupt_media": 1}), Tally(inputs=1, errors={"corrupt_media": 1})]).errors
    {'corrupt_media': 2}
    """
    result = Tally()
    top: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for tally in tallies:
        for name, value in vars(tally).items():
            if isinstance(value, (int, float)):
                setattr(result, name, getattr(result, name) + value)
        top.update(tally.top)
        errors.update(tally.errors)
        result.confidence = [a + b for a, b in zip(result.confidence, tally.confidence, strict=True)]
        result.slowest = heapq.nlargest(SLOWEST, [*result.slowest, *tally.slowest])
    result.top, result.errors = dict(top), dict(errors)
    return result
