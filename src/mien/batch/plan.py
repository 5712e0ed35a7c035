"""Inputs -> a plan: a file with one line per input, divided into shards. Each input appears once.

Planning needs eight bytes of memory per input, and afterwards one line per shard.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mien.batch.files import WholeFile
from mien.batch.inputs import Input

SHARD = 256  # photos per shard: about 15 s of work and 100 KB of Parquet


@dataclass(frozen=True)
class Shard:
    """Inputs that are processed together: ``count`` lines of the plan, in the ``length`` bytes from byte ``start``."""

    number: int
    start: int
    length: int
    count: int


@dataclass(frozen=True)
class Planned:
    """The size of a plan, in inputs. ``size`` is the sum of known sizes, in bytes. ``duplicates`` counts repeated inputs, left out."""

    inputs: int
    photos: int
    videos: int
    errors: int
    size: int
    duplicates: int
    shards: int
    sha256: str


class Plan:
    """The plan of a job on disk: ``plan.jsonl``, and ``shards.jsonl`` with its division into shards."""

    def __init__(self, folder: Path) -> None:
        self._lines = folder / "plan.jsonl"
        self._cuts = folder / "shards.jsonl"

    def write(self, inputs: Iterable[Input], shard: int = SHARD) -> Planned:
        """Write the plan and return its size.

        A shard has up to ``shard`` photos, or one video. A repeated input keeps its first position.
        """
        draft = self._lines.with_suffix(".draft")
        hashes = array("Q")
        with draft.open("w", encoding="ascii") as out:
            for item in inputs:
                hashes.append(_hash(item))
                out.write(item.to_line())
        repeated = _repeated(hashes)
        counts = {"photo": 0, "video": 0, "error": 0}
        known_bytes = 0
        cuts: list[Shard] = []
        with WholeFile(self._lines) as lines, WholeFile(self._cuts) as cut_lines:
            for group in _groups(_once(draft, repeated), shard):
                text = b"".join(item.to_line().encode("ascii") for item in group)
                cut = Shard(len(cuts), lines.size, len(text), len(group))
                lines.write(text)
                cut_lines.write(json.dumps(asdict(cut)).encode() + b"\n")
                cuts.append(cut)
                for item in group:
                    counts[item.kind] += 1
                    known_bytes += item.size or 0
        draft.unlink()
        total = sum(counts.values())
        return Planned(
            inputs=total,
            photos=counts["photo"],
            videos=counts["video"],
            errors=counts["error"],
            size=known_bytes,
            duplicates=len(hashes) - total,
            shards=len(cuts),
            sha256=lines.sha256,
        )

    def shards(self) -> list[Shard]:
        """Return the shards of the plan."""
        with self._cuts.open(encoding="ascii") as cuts:
            return [Shard(**json.loads(line)) for line in cuts]

    def lines(self, shard: Shard) -> bytes:
        """Return the lines of a shard, unchanged from the file."""
        with self._lines.open("rb") as file:
            file.seek(shard.start)
            return file.read(shard.length)


def _hash(item: Input) -> int:
    identity = item.identity.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), "little")


def _repeated(hashes: array[int]) -> frozenset[int]:
    values, counts = np.unique(np.frombuffer(hashes, np.uint64), return_counts=True) if hashes else (np.zeros(0), np.zeros(0))
    return frozenset(int(value) for value in values[counts > 1])


def _once(draft: Path, repeated: frozenset[int]) -> Iterator[Input]:
    """Yield the inputs of a draft without repetitions. Equal hashes are only a hint; equal identities decide."""
    seen: set[str] = set()
    with draft.open(encoding="ascii") as lines:
        for line in lines:
            item = Input.from_line(line)
            if _hash(item) in repeated:
                if item.identity in seen:
                    continue
                seen.add(item.identity)
            yield item


def _groups(inputs: Iterable[Input], most: int) -> Iterator[list[Input]]:
    group: list[Input] = []
    for item in inputs:
        if item.kind == "video":
            yield [item]
            continue
        group.append(item)
        if len(group) >= most:
            yield group
            group = []
    if group:
        yield group
