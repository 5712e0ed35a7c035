"""Shared code of the adapters: read a job, run one task of it with the peer's own code, write the answer.

An adapter runs in the peer's environment, which has neither Mien nor this repository: ``python with_NAME.py JOB.json``. The job names a
task, raw uint8 arrays and a folder for the answer. adapters/protocol.cjs does the same in JavaScript. The tasks are:

``predict``  scores of every crop, and the faces of every photo and scene
``look``     the faces of every labelled whole photo, each of a size of its own
``time``     milliseconds a crop at several batch sizes, and a photo
``memory``   the largest resident size after one crop and all photos
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Found = tuple[Sequence[float], Sequence[float]]  # (box_xyxy in pixels of the photo, scores in the order of the peer's labels)
CHUNK = 32
WARM_UP = 2
MIN_REPEATS = 5


class Peer(Protocol):
    """A loaded peer.

    ``labels`` are the classes of the peer in the order of its scores, with Mien's names. ``gives_probabilities`` is False if a caller gets
    only a label, so that the scores do not express confidence.
    """

    labels: tuple[str, ...]
    gives_probabilities: bool

    def classify(self, crops: np.ndarray) -> np.ndarray:
        """Return scores (N, 7) of crops, uint8 (N, 48, 48), with the peer's own preprocessing; in one batch if its network can."""
        ...

    def prepare(self, frame_rgb: np.ndarray) -> Any:
        """Return an RGB frame in the format of the peer, for example BGR or a Pillow image. This is not timed."""
        ...

    def analyze(self, photo: Any) -> object:
        """Run the peer's own call on one prepared photo. This is timed."""
        ...

    def faces(self, photo: Any) -> Iterable[Found]:
        """Return every face that the peer finds in a prepared photo."""
        ...


def run(load: Callable[[dict[str, str]], Peer]) -> None:
    """Run the job on the command line and write ``result.json``, and for ``predict`` also ``scores.f32``."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    peer = load(job["options"])
    answer = {"predict": predict, "look": look, "time": timings, "memory": memory}[job["task"]](peer, job)
    (Path(job["out"]) / "result.json").write_text(json.dumps(answer), encoding="utf-8")


def predict(peer: Peer, job: dict[str, Any]) -> dict[str, Any]:
    """Write the scores of every crop. Return the labels, and the faces of photos and scenes."""
    crops = _array(job["crops"])
    scores = np.concatenate([peer.classify(np.ascontiguousarray(crops[i : i + CHUNK])) for i in range(0, len(crops), CHUNK)])
    (Path(job["out"]) / "scores.f32").write_bytes(np.asarray(scores, "<f4").tobytes())
    return {
        "labels": peer.labels,
        "gives_probabilities": peer.gives_probabilities,
        **{name: [_plain(peer.faces(photo)) for photo in _photos(peer, job[name])] for name in ("photos", "scenes")},
    }


def look(peer: Peer, job: dict[str, Any]) -> dict[str, Any]:
    """Return the labels and, per whole photo, its faces; where the peer's own code fails on a photo, the error as text in their place."""
    entry, offset = job["whole_photos"], 0
    pixels = np.memmap(entry["file"], np.uint8, "r")
    answers: list[Any] = []
    for shape in entry["shapes"]:
        frame_rgb = np.array(pixels[offset : offset + math.prod(shape)]).reshape(shape)
        offset += math.prod(shape)
        try:
            answers.append(_plain(peer.faces(peer.prepare(frame_rgb))))
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}")
    return {"labels": peer.labels, "whole_photos": answers}


def timings(peer: Peer, job: dict[str, Any]) -> dict[str, Any]:
    """Return median milliseconds: per face at every batch size (``face_ms``), and for each photo (``photo_ms``)."""
    crops, seconds = _array(job["crops"]), job["seconds"]
    return {
        "face_ms": {
            str(size): median_ms(lambda size=size: peer.classify(np.ascontiguousarray(crops[:size])), seconds) / size
            for size in job["batches"]
            if size <= len(crops)
        },
        "photo_ms": [median_ms(lambda photo=photo: peer.analyze(photo), seconds) for photo in _photos(peer, job["photos"])],
    }


def memory(peer: Peer, job: dict[str, Any]) -> dict[str, Any]:
    """Return the peak resident size in MB (10^6 bytes) of a process that classified one crop and analysed every photo once."""
    peer.classify(np.ascontiguousarray(_array(job["crops"])[:1]))
    for photo in _photos(peer, job["photos"]):
        peer.analyze(photo)
    status = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage would start with the memory of the parent process
    (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return {"peak_mb": int(kilobytes) * 1024 / 1e6}


def median_ms(work: Callable[[], object], seconds: float) -> float:
    """Return the median milliseconds of ``work``, repeated for about ``seconds``."""
    for _ in range(WARM_UP):
        work()
    times: list[float] = []
    while len(times) < MIN_REPEATS or sum(times) < seconds:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def _array(entry: dict[str, Any]) -> np.ndarray:
    return np.memmap(entry["file"], np.uint8, "r", shape=tuple(entry["shape"]))


def _photos(peer: Peer, entry: dict[str, Any]) -> Iterator[Any]:
    for frame in _array(entry):
        yield peer.prepare(np.array(frame))


def _plain(faces: Iterable[Found]) -> list[dict[str, list[float]]]:
    return [{"box_xyxy": [float(v) for v in box], "scores": [float(v) for v in scores]} for box, scores in faces]
