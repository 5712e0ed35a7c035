"""One shard: inputs -> records -> a finished part file and its tally."""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

from mien.batch.files import room
from mien.batch.inputs import Input, shown
from mien.batch.reading import Reader
from mien.batch.settings import Settings
from mien.batch.tally import Tally
from mien.errors import CrashedError, JobError, MediaError
from mien.media.images import display_name
from mien.media.video import Video
from mien.pipeline import Pipeline
from mien.results import ErrorResult, Record
from mien.sinks import Parquet, Sink, open_sink
from mien.video_job import named, video_records


class ShardRunner:
    """A loaded pipeline that runs shards, one at a time.

    One thread reads and detects, one classifies, and others download. The same shard gives the same bytes on every machine and with
    any number of workers.
    """

    def __init__(self, settings: Settings) -> None:
        """Load the model and the detector.

        Raises:
            BundleError, DetectorError, UsageError: the model or the detector cannot be loaded.
        """
        self._settings = settings
        self._reader = Reader(settings.limits)
        self._seconds = self._reader.seconds
        self.pipeline = Pipeline(
            model=settings.model,
            detector=settings.detector,
            min_face=settings.min_face,
            threads=1,
            providers=settings.providers or None,
            limits=settings.limits,
            on_photo=self._took,
        )

    def run(self, inputs: Sequence[Input], part: Path, tell: Callable[[int], None], crashed: Mapping[int, str] | None = None) -> Tally:
        """Write the records of a shard to the file ``part``, flush it to the disk, and return the tally.

        Args:
            inputs: lines of the plan.
            part: file to write; an existing one is replaced.
            tell: called from time to time with the number of finished inputs.
            crashed: position -> what happened, for inputs that must not be read again.

        Raises:
            JobError: the disk is full, the connection is lost, or records do not match inputs.
        """
        items = [replace(item, kind="error", code=CrashedError.code, message=crashed[i]) if crashed and i in crashed else item
                 for i, item in enumerate(inputs)]  # fmt: skip
        tally = Tally(inputs=len(items), videos=sum(item.kind == "video" for item in items))
        began = time.perf_counter()
        self._seconds.clear()
        with self._sink(part) as sink:
            done = 0
            for is_video, group in groupby(items, key=lambda item: item.kind == "video"):
                for item, records in self._videos(group) if is_video else self._photos(list(group)):
                    for record in records:
                        _check_is_of(record, item)
                        sink.write(record)
                        tally.add_record(record)
                        tell(done)  # also during a long video
                    done += 1
                    tell(done)
        if done != len(items) or not tally.adds_up:
            raise JobError(
                f"expected records of {len(items)} inputs, got those of {done} ({tally}); this is a fault in Mien, please report it"
            )
        tally.seconds = round(time.perf_counter() - began, 3)
        tally.add_seconds(self._seconds)
        return tally

    def probe(self, item: Input) -> None:
        """Analyse one input and discard the result, as a test whether the process survives it."""
        for _, records in self._videos(iter([item])) if item.kind == "video" else self._photos([item]):
            for _ in records:
                pass

    def _took(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def _photos(self, items: Sequence[Input]) -> Iterator[tuple[Input, Sequence[Record]]]:
        for item, record in zip(items, self.pipeline.analyze_many(self._reader.photos(items)), strict=True):
            yield item, (_portable(record, item),)

    def _videos(self, items: Iterator[Input]) -> Iterator[tuple[Input, Iterator[Record]]]:
        for item in items:
            yield item, self._frames(item)

    def _frames(self, item: Input) -> Iterator[Record]:
        """Yield one record per frame, and an error record if the video breaks off."""
        began = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory(prefix="mien-batch-") as scratch:
                records = video_records(
                    self.pipeline,
                    partial(self._open, item, Path(scratch)),
                    name=item.name,
                    every_s=self._settings.every_s,
                    detect_every=self._settings.detect_every,
                )
                with closing(records), suppress(MediaError):  # the last record reports it
                    for record in records:
                        yield _portable(record, item)
        finally:
            self._took(item.name, time.perf_counter() - began)

    def _open(self, item: Input, scratch: Path) -> Video:
        path = self._reader.file(item, scratch)
        try:
            return Video(path, limits=self._settings.limits, name=item.name)
        except MediaError as error:
            raise named(error, display_name(path), item.name) from None

    @contextmanager
    def _sink(self, part: Path) -> Iterator[Sink]:
        with room(part), part.open("wb") as out:
            if self._settings.format == "parquet":
                with Parquet(out, self.pipeline.labels) as sink:
                    yield sink
            else:
                text = io.TextIOWrapper(out, encoding="utf-8", errors="backslashreplace", newline="", write_through=False)
                with open_sink("jsonl", text, self.pipeline.labels) as sink:
                    yield sink
                text.flush()
                text.detach()
            out.flush()
            os.fsync(out.fileno())


def _portable(record: Record, item: Input) -> Record:
    """Return a record with the input's name from the sources, which does not depend on the folder on this machine."""
    if isinstance(record, ErrorResult) and item.place and "://" not in item.place:
        return replace(record, message=record.message.replace(shown(item.place), item.name))
    return record


def _check_is_of(record: Record, item: Input) -> None:
    if record.source != item.name:
        raise JobError(f"expected a record of {item.name!r}, got one of {record.source!r}; this is a fault in Mien, please report it")
