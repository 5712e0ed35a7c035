"""Speed and memory of batch jobs, and their results after kills: ``python -m benchmarks.batch PART --data FER2013``.

``speed``   one worker, all workers and the pipeline without a job, on photos, crops and a video, in one run
``kills``   a job over FER2013, photos and videos on both engines, killed at random moments; the results are compared byte for byte
``large``   a job over links to FER2013's files with ``--records`` records, and the memory of the driver and its workers over time
``docs``    writes the figures of the parts into docs/scaling.md; ``--check`` only compares

Each part writes benchmarks/results/batch-PART.json. All parts accept ``--limit`` for a trial with fewer files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.scaling import price_table, write_docs
from benchmarks.timing import machine, markdown
from benchmarks.video import make_clip
from mien.assets import demo_photo
from mien.batch.folder import JobFolder
from mien.batch.tally import Tally
from mien.batch.workers import Done
from mien.media.sources import Source, expand
from mien.media.video import open_video
from mien.pipeline import Pipeline

RESULTS = Path(__file__).parent / "results"
PHOTO_WH, LARGE_WH, CLIP_WH = (640, 480), (4000, 3000), (640, 480)


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "kills", "large", "docs"])
    parser.add_argument("--data", type=Path, help="folder of FER2013's train and test images")
    parser.add_argument("--limit", type=int, help="take fewer of FER2013's files")
    parser.add_argument("--records", type=int, default=60_000, help="records of the large job; the page shows 200,000")
    parser.add_argument("--photos", type=int, default=1500, help="of the speed part")
    parser.add_argument("--kills", type=int, default=3, help="of each engine")
    parser.add_argument("--engines", nargs="+", default=["local", "ray"])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0, help="seed of the times of the kills")
    parser.add_argument("--scratch", type=Path, help="folder for the jobs; by default a temporary folder")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--price", action="append", metavar="NAME=DOLLARS", help="with docs: only print the costs at this price per hour")
    options = parser.parse_args()
    if options.price:
        prices = {name: float(dollars) for name, _, dollars in (price.partition("=") for price in options.price)}
        print(price_table(json.loads((RESULTS / "batch-speed.json").read_text(encoding="utf-8"))["figures"], prices))
        return
    if options.part == "docs":
        raise SystemExit(write_docs(check=options.check))
    if options.part != "speed" and not options.data:
        parser.error("--data is needed")
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        figures = {"speed": speed, "kills": kills, "large": large}[options.part](options, Path(scratch))
    result = {"machine": machine(("numpy", "onnxruntime", "pillow", "pyarrow")), "figures": figures}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"batch-{options.part}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(result["machine"])
    print()
    print(markdown(("what", "figure"), [(key, value) for key, value in figures.items() if not isinstance(value, list)]))


def speed(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return inputs per second of the warm pipeline and of whole jobs with one worker and all workers, and the cost per input."""
    photos = _photos(scratch / "photos", options.photos)
    clip = make_clip(scratch / "clip.mp4", CLIP_WH, 1, 300)
    pipeline = Pipeline(threads=options.workers)
    figures: dict[str, Any] = {"photos": options.photos, "workers": options.workers}
    alone = _rate(lambda: sum(1 for _ in pipeline.analyze_many(expand([str(photos)]))))
    one = _job_rate(photos, scratch / "job-one", 1)
    all_of_them = _job_rate(photos, scratch / "job-all", options.workers)
    figures["one worker, photos/s"] = round(one, 2)
    figures["all workers, photos/s"] = round(all_of_them, 2)
    figures["pipeline alone, photos/s"] = round(alone, 2)
    figures["all workers / one worker"] = round(all_of_them / one, 2)
    figures["all workers / pipeline alone"] = round(all_of_them / alone, 2)
    crops = _links(options.data, scratch / "crops", options.limit or 4000) if options.data else None
    if crops:
        figures["crops of 48 px, all workers, files/s"] = round(_job_rate(crops, scratch / "job-crops", options.workers), 2)
    single = Pipeline(threads=1)
    for name, every in (("every frame", None), ("a frame a second", 1.0)):
        began, spent = time.perf_counter(), time.process_time()
        with open_video(clip) as video:
            frames = sum(1 for _ in single.stream(video.frames(every), source="clip"))
        minutes = 300 / 30 / 60
        figures[f"video minute of 640x480, 30 frames/s, {name}: core s"] = round((time.process_time() - spent) / minutes, 2)
        figures[f"video minute of 640x480, 30 frames/s, {name}: s"] = round((time.perf_counter() - began) / minutes, 2)
        figures[f"video minute of 640x480, 30 frames/s, {name}: records"] = round(frames / minutes)
    figures["photo of 640x480: core s"] = round(_core_seconds(single, photos), 4)
    large_photos = _photos(scratch / "large-photos", 12, LARGE_WH)
    figures["photo of 12 MP: core s"] = round(_core_seconds(single, large_photos), 4)
    figures["photo of 12 MP: bytes read"] = round(sum(file.stat().st_size for file in large_photos.iterdir()) / 12)
    figures["driver: ms a part"] = round(_take_ms(scratch), 2)
    figures["photo of 640x480: bytes read"] = round(sum(file.stat().st_size for file in photos.iterdir()) / options.photos)
    figures["record: bytes written"] = round(_bytes_of(scratch / "job-all") / options.photos)
    return figures


def kills(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return the result of a mixed job on each engine after its kills, and whether the parts are equal byte for byte."""
    source = _links(options.data, scratch / "fer2013", options.limit)
    photos = _photos(scratch / "photos", 100)
    (scratch / "clips").mkdir()
    for number in range(3):
        make_clip(scratch / "clips" / f"{number}.mp4", (320, 240), 1 + number, 90)
    (scratch / "photos" / "broken.jpg").write_bytes(b"no photo")
    sources = [source, photos, scratch / "clips"]
    chance = random.Random(options.seed)
    digests, figures = {}, {}
    for engine in options.engines:
        command = [
            "batch",
            *map(str, sources),
            "--output",
            str(scratch / f"job-{engine}"),
            "--engine",
            engine,
            "--workers",
            str(options.workers),
        ]
        began = time.monotonic()
        when = sorted(chance.sample(range(1, _shards(command) - 1), options.kills))
        moments = [_killed(command, scratch / f"job-{engine}", after, chance.random()) for after in when]
        _mien(command)
        summary = json.loads((scratch / f"job-{engine}" / "summary.json").read_text(encoding="ascii"))["tally"]
        digests[engine] = _digest(scratch / f"job-{engine}")
        figures |= {
            f"{engine}: killed after shards": ", ".join(map(str, moments)),
            f"{engine}: inputs": summary["inputs"],
            f"{engine}: records": summary["records"],
            f"{engine}: errors": sum(summary["errors"].values()),
            f"{engine}: s": round(time.monotonic() - began),
            f"{engine}: sha256 of all parts": digests[engine],
        }
    if len(digests) > 1:
        figures["the same bytes on all engines"] = len(set(digests.values())) == 1
    return figures


def large(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return the figures of a large job, and the memory of its processes at every tenth of the job."""
    source = _links(options.data, scratch / "links", options.records)
    out = scratch / "job"
    began = time.monotonic()
    driver = subprocess.Popen(
        [sys.executable, "-m", "mien", "batch", str(source), "--output", str(out), "--workers", str(options.workers)],
        stderr=subprocess.DEVNULL,
    )
    samples: list[list[float]] = []
    while driver.poll() is None:
        time.sleep(2)
        samples.append([_done(out), *_memory_mb(driver.pid)])
    if driver.returncode:
        raise SystemExit(f"the job ended with status {driver.returncode}")
    seconds = time.monotonic() - began
    working = [sample for sample in samples if sample[0] > 0 and sample[2] > 0] or samples
    tenth = len(working) // 10
    summary = json.loads((out / "summary.json").read_text(encoding="ascii"))
    return {
        "inputs": summary["tally"]["inputs"],
        "records": summary["tally"]["records"],
        "shards": summary["planned"]["shards"],
        "errors": sum(summary["tally"]["errors"].values()),
        "s": round(seconds),
        "files/s": round(summary["tally"]["inputs"] / seconds, 1),
        "Parquet, MB": round(_bytes_of(out) / 1e6, 1),
        "plan, MB": round((out / "plan.jsonl").stat().st_size / 1e6, 1),
        "driver, MB at a tenth": round(working[tenth][1]),
        "driver, MB at nine tenths": round(working[-1 - tenth][1]),
        "driver, MB at most, in the final check": round(max(sample[1] for sample in samples)),
        "largest worker, MB at a tenth": round(working[tenth][2]),
        "largest worker, MB at nine tenths": round(working[-1 - tenth][2]),
        "memory": [[int(sample[0]), round(sample[1]), round(sample[2])] for sample in working[:: max(1, tenth)]],
    }


def _photos(folder: Path, count: int, size_wh: tuple[int, int] = PHOTO_WH) -> Path:
    """Write photos with one face each, all slightly different, and return their folder."""
    folder.mkdir()
    width, height = size_wh
    with Image.open(demo_photo()) as portrait:
        fitted = portrait.resize((height, height), Image.Resampling.LANCZOS)
    for number in range(count):
        photo = Image.new("RGB", size_wh, (120, 110, 100))
        photo.paste(fitted, (number % (width - height), 0))
        photo.save(folder / f"{number:06d}.jpg", quality=90)
    return folder


def _take_ms(scratch: Path, parts: int = 50) -> float:
    """Return the milliseconds that the driver needs to store one part from a cluster on the disk and in the manifest."""
    folder = JobFolder(scratch / "taken")
    content = os.urandom(100_000)
    with folder.locked():
        began = time.perf_counter()
        for number in range(parts):
            folder.take(Done(number, Tally(), hashlib.sha256(content).hexdigest(), len(content), content=content), "parquet")
        return 1000 * (time.perf_counter() - began) / parts


def _links(data: Path, folder: Path, count: int | None) -> Path:
    """Return a folder with ``count`` links to FER2013's files. Files repeat if there are too few; None links each file once."""
    files = sorted(path for path in data.rglob("*.jpg"))
    if not files:
        raise SystemExit(f"expected FER2013's images in {data}, got none")
    for number in range(count or len(files)):
        place = folder / f"{number // 10_000:04d}"
        if number % 10_000 == 0:
            place.mkdir(parents=True)
        (place / f"{number:08d}.jpg").symlink_to(files[number % len(files)].resolve())
    return folder


def _job_rate(source: Path, out: Path, workers: int) -> float:
    """Return inputs per second of a whole command, from its start to its end."""
    began = time.perf_counter()
    _mien(["batch", str(source), "--output", str(out), "--workers", str(workers), "--shard", "50"])
    seconds = time.perf_counter() - began
    return float(json.loads((out / "summary.json").read_text(encoding="ascii"))["tally"]["inputs"] / seconds)


def _rate(work: Callable[[], int]) -> float:
    began = time.perf_counter()
    return work() / (time.perf_counter() - began)


def _core_seconds(pipeline: Pipeline, photos: Path) -> float:
    files = [Source(file.name, file) for file in sorted(photos.iterdir())[:100]]
    spent = time.process_time()
    count = sum(1 for _ in pipeline.analyze_many(files))
    return (time.process_time() - spent) / count


def _mien(arguments: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "mien", *arguments], check=True, stderr=subprocess.DEVNULL)


def _shards(command: Sequence[str]) -> int:
    told = subprocess.run([sys.executable, "-m", "mien", *command, "--dry-run"], check=True, capture_output=True, text=True).stderr
    return int(told.split("; ")[1].split()[0].replace(",", ""))


def _killed(command: Sequence[str], out: Path, after: int, delay_s: float) -> int:
    """Run a job until ``after`` shards are in its manifest, wait ``delay_s``, kill it, and return the number of shards."""
    driver = subprocess.Popen([sys.executable, "-m", "mien", *command], stderr=subprocess.DEVNULL, start_new_session=True)
    while driver.poll() is None and _noted(out) < after:
        time.sleep(0.05)
    time.sleep(delay_s)
    if driver.poll() is not None:
        raise SystemExit(f"the job ended with status {driver.returncode} before it could be killed")
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    return _noted(out)


def _noted(out: Path) -> int:
    manifest = out / "manifest.jsonl"
    return manifest.read_bytes().count(b"\n") if manifest.is_file() else 0


def _done(out: Path) -> int:
    try:
        return int(json.loads((out / "progress.json").read_text(encoding="ascii"))["done"])
    except (OSError, ValueError):
        return 0


def _digest(out: Path) -> str:
    digest = hashlib.sha256()
    for part in sorted((out / "records").iterdir()):
        digest.update(part.name.encode() + hashlib.sha256(part.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _bytes_of(out: Path) -> int:
    return sum(part.stat().st_size for part in (out / "records").iterdir())


def _memory_mb(driver: int) -> tuple[float, float]:
    """Return the memory of the driver and of the largest of its children."""
    children = [0.0]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == driver:
                children.append(_resident_mb(int(stat.parent.name)))
        except (OSError, ValueError):
            continue  # the process has just ended
    return _resident_mb(driver), max(children)


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
