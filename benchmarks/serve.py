"""How much of the pipeline's speed does the service keep, and is it stable? ``python -m benchmarks.serve``.

It measures in one run on one machine. First, the bare pipeline runs in this process. Then 64 clients call ``mien serve``, which runs in its
own process: once it classifies the faces of several callers together, once each photo separately. The clients run in this process and use
part of the cores.

``--malformed 2000`` and ``--soak 50000`` are the long forms of the two parts that measure memory. The defaults take a few minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from PIL import Image

from benchmarks import malformed
from benchmarks.timing import machine, markdown, median_ms
from mien.arrays import Frame
from mien.assets import demo_photo
from mien.bundles import open_bundle
from mien.classify import MICRO_BATCH, Classifier
from mien.detect import Detection
from mien.media.sources import Source
from mien.pipeline import Pipeline
from mien.serve.service import SWEEP_EVERY_S, load_pipeline
from mien.serve.settings import Settings
from mien.serve.work.batcher import Batcher

RESULT = Path(__file__).parent / "results" / "serve.json"
PHOTOS = 16
CHUNK = 1000  # requests that are planned together
WARM_UP = 300  # requests before memory is measured, so that pools, caches and allocators have their final size
PNG_OF_CHIP = malformed.png(48, 48, b"\0" * 49 * 48)
Figures = dict[str, float]


def main() -> None:
    """Print the table and write it. Fail if the service failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60, help="of the load run")
    parser.add_argument("--malformed", type=int, default=420, help="number of broken and hostile uploads; 0 leaves them out")
    parser.add_argument("--soak", type=int, default=5000, help="number of requests of the soak; 0 leaves it out")
    parser.add_argument("--json", type=Path, default=RESULT)
    options = parser.parse_args()

    photos = portraits((640, 480), (300, 300))
    figures: Figures = {"bare pipeline, photos/s": bare_speed(photos, options.seconds / 3)}
    trouble: Counter[str] = Counter()
    for name, seconds, flags in (("together", options.seconds, ()), ("each photo alone", options.seconds / 2, ("--max-batch", "1"))):
        with service(*flags) as address:
            load = asyncio.run(run_load(address, photos, options.clients, seconds))
            figures |= load.figures(f"{options.clients} clients, faces classified {name}")
            figures[f"{options.clients} clients, faces classified {name}: photos a batch"] = mean_batch(address)
            trouble += load.trouble
            if name == "together":
                figures |= asyncio.run(run_load(address, photos, 1, options.seconds / 6)).figures("1 client", rate=False)
    together = figures[f"{options.clients} clients, faces classified together: photos/s"]
    figures["service / bare pipeline"] = together / figures["bare pipeline, photos/s"]
    figures |= found_faces_figures(options.clients, options.seconds / 6)
    with service("--max-in-flight", "64") as address:
        for name, count, part in (("malformed uploads", options.malformed, run_malformed), ("soak", options.soak, run_soak)):
            if count:
                grown, statuses = part(address, count)
                figures[f"{name}: requests"] = count
                figures[f"{name}: memory growth, MB"] = grown
                trouble += Counter({f"{name}: {status}": n for status, n in statuses.items() if is_trouble(status)})
    figures["answers that should not have been"] = sum(trouble.values())

    print(machine(("numpy", "onnxruntime", "fastapi", "uvicorn")))
    print()
    print(markdown(("what", "figure"), [(name, f"{value:.2f}") for name, value in figures.items()]))
    options.json.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n", encoding="utf-8")
    if trouble:
        raise SystemExit(f"the service failed: {dict(trouble)}")


def portraits(size_wh: tuple[int, int], face_wh: tuple[int, int]) -> list[bytes]:
    """Return JPEG files with one face each, at different places."""
    rng = np.random.default_rng(0)
    files = []
    with Image.open(demo_photo()) as photo:
        face = photo.crop((100, 0, 360, 260)).resize(face_wh)
    for _ in range(PHOTOS):
        picture = Image.new("RGB", size_wh, (120, 110, 100))
        picture.paste(face, (int(rng.integers(0, size_wh[0] - face_wh[0] + 1)), int(rng.integers(0, size_wh[1] - face_wh[1] + 1))))
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    return files


def bare_speed(photos: list[bytes], seconds: float) -> float:
    """Return photos per second of the bare pipeline on all cores."""
    pipeline = load_pipeline(Settings())  # the same threads as in the service
    list(pipeline.analyze_many(photos))
    began, done = time.perf_counter(), 0
    endless = itertools.cycle(photos)
    due = itertools.takewhile(lambda _: time.perf_counter() - began < seconds, endless)
    for record in pipeline.analyze_many(due):
        done += 1
        if not getattr(record, "faces", ()):
            raise SystemExit("expected one face in each test photo")
    return done / (time.perf_counter() - began)


def found_faces_figures(callers: int, seconds: float) -> Figures:
    """Return faces per second without the cost of detection: for the bare classifier, and for a classifier shared by callers."""
    classifier = Classifier(open_bundle(), threads=1)
    side = classifier.spec.chip_size
    chips = np.random.default_rng(0).integers(0, 256, (MICRO_BATCH, *classifier.spec.input_shape[:2]), dtype=np.uint8)
    bare_ms = median_ms(lambda: classifier.probabilities(chips), 20)
    template = tuple((float(x), float(y)) for x, y in classifier.spec.template)
    pipeline = Pipeline(classifier=classifier, detector=_Found(Detection((0.0, 0.0, float(side), float(side)), 1.0, template)))

    async def speed(max_batch: int) -> float:
        batcher = Batcher(pipeline, workers=os.cpu_count() or 1, batch_wait_s=0.003, max_batch=max_batch)
        batcher.start()
        began, done = time.perf_counter(), 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() - began < seconds:
                await batcher.analyze(Source("chip", PNG_OF_CHIP), max_faces=1)
                done += 1

        await asyncio.gather(*(caller() for _ in range(callers)))
        await batcher.close()
        return done / (time.perf_counter() - began)

    bare = 1000 * MICRO_BATCH / bare_ms
    together, alone = asyncio.run(speed(MICRO_BATCH)), asyncio.run(speed(1))
    return {
        "bare classifier, one thread, faces/s": bare,
        f"faces already found, {callers} callers together, faces/s": together,
        f"faces already found, {callers} callers each alone, faces/s": alone,
        "faces already found, together / bare classifier": together / bare,
    }


@dataclass(frozen=True)
class _Found:
    """A detector that returns a fixed answer."""

    face: Detection
    name: str = "found"

    def detect(self, frame_rgb: Frame, min_face: float = 20) -> tuple[Detection, ...]:  # noqa: ARG002
        return (self.face,)


@contextmanager
def service(*flags: str) -> Iterator[str]:
    """Give the address of ``mien serve``, which runs in its own process."""
    command = [sys.executable, "-m", "mien", "serve", "--port", "0", "--body-timeout-s", "2", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            address = next(line.split()[3] for line in process.stderr if line.startswith("Mien is at "))
            with ThreadPoolExecutor(1) as reader:
                reader.submit(lambda: sum(1 for _ in process.stderr or ()))  # the log must not fill the pipe
                SERVICES[address] = psutil.Process(process.pid)
                yield address
                process.terminate()
        finally:
            process.terminate()


SERVICES: dict[str, psutil.Process] = {}  # address -> process


@dataclass
class Load:
    """The answers that the clients got."""

    seconds: float = 0.0
    times_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def trouble(self) -> Counter[str]:
        """Answers that are neither the expected one nor a correct 503."""
        return Counter({f"load: {status}": n for status, n in self.statuses.items() if status not in (200, 503)})

    def figures(self, name: str, rate: bool = True) -> Figures:
        """Return photos per second and the time per photo."""
        cuts = statistics.quantiles(self.times_s, n=100)
        per_second = {
            f"{name}: photos/s": self.statuses[200] / self.seconds,
            f"{name}: refused (503), %": 100 * self.statuses[503] / self.statuses.total(),
        }
        return (per_second if rate else {}) | {f"{name}: p{p}, ms": 1000 * cuts[p - 1] for p in (50, 95, 99)}


async def run_load(address: str, photos: list[bytes], clients: int, seconds: float) -> Load:
    """Return the answers that ``clients`` clients got. Each client sends its next photo when the previous one is answered."""
    load = Load()
    requests = [request(photo) for photo in photos]
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        where = urlsplit(address)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        for turn in itertools.count(number):
            began = time.perf_counter()
            if began > end:
                break
            writer.write(requests[turn % len(requests)])
            status = await read_status(reader)
            load.statuses[status] += 1
            if status == 200:
                load.times_s.append(time.perf_counter() - began)
            else:
                await asyncio.sleep(0.1)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    load.seconds = time.perf_counter() - began
    return load


def request(photo: bytes) -> bytes:
    """Return a whole HTTP request."""
    head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n"
    return head.encode() + photo


async def read_status(reader: asyncio.StreamReader) -> int:
    """Read the next answer to its end and return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    return int(head.split(b" ", 2)[1])


def mean_batch(address: str) -> float:
    """Return the mean number of photos per batch."""
    text = urllib.request.urlopen(f"{address}/metrics").read().decode()
    total, count = (float(re.search(rf"^mien_batch_photos_{part} (\S+)", text, re.MULTILINE)[1]) for part in ("sum", "count"))
    return total / count


def run_malformed(address: str, count: int) -> tuple[float, Counter[int]]:
    """Return memory growth in MB and the statuses of ``count`` malformed uploads, after 420 others as a warm-up."""

    def send(number: int) -> int:
        return malformed.send(address, *malformed.one(number))

    return watched(address, send, 20 * len(malformed.KINDS), count)


def run_soak(address: str, count: int) -> tuple[float, Counter[int]]:
    """Return memory growth in MB and the statuses of ``count`` small photos, of which one in fifty is a malformed upload."""
    photos = [request(photo) for photo in portraits((160, 120), (110, 110))]

    def send(number: int) -> int:
        kind, data = malformed.one(number // 50) if number % 50 == 0 else ("photo", photos[number % len(photos)])
        return malformed.send(address, kind, data)

    return watched(address, send, WARM_UP, count)


def watched(address: str, send: Callable[[int], int], warm_up: int, count: int) -> tuple[float, Counter[int]]:
    """Return the growth of the service's memory at rest since the end of the warm-up, in MB, and all statuses."""
    statuses: Counter[int] = Counter()
    with ThreadPoolExecutor(16) as pool:
        statuses.update(pool.map(send, range(warm_up)))
        before = memory_at_rest_mb(address)
        for start in range(0, count, CHUNK):
            statuses.update(pool.map(send, range(start, min(count, start + CHUNK))))
    return memory_at_rest_mb(address) - before, statuses


def memory_at_rest_mb(address: str) -> float:
    """Return the resident memory of the service after it has had time to return unused memory."""
    time.sleep(1.2 * SWEEP_EVERY_S)
    return float(SERVICES[address].memory_info().rss) / 1e6


def is_trouble(status: int) -> bool:
    """Return whether an answer is a fault of the service. 503 is correct; 0 is a connection that was closed without an answer."""
    return status >= 500 and status != 503


if __name__ == "__main__":
    main()
