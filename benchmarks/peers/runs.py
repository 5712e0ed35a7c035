"""Runs the tasks of a peer, each in its own process in the peer's environment. Predictions are cached, costs are measured again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environments import Environment, PeerError, call
from benchmarks.peers.inputs import Inputs, PhotoSet
from benchmarks.peers.roster import Peer
from mien.contract import LABELS

BATCHES = (1, 8, 32, 128)
TASK_LIMIT_S = 3600
# Variables that keep the numerical libraries on one thread. If the system can, the process is also limited to one core.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "OPENCV_FOR_THREADS_NUM",
    ),
    "1",
)
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True)
class Prediction:
    """``scores`` (N, 7) and, per picture, a list of {box_xyxy, scores}. Scores have the order of :data:`mien.contract.LABELS`."""

    scores: NDArray[np.float64]
    gives_probabilities: bool
    photos: list[list[dict[str, Any]]]
    scenes: list[list[dict[str, Any]]]


def predict(peer: Peer, env: Environment, inputs: Inputs, cache: Path, *, fresh: bool = False) -> Prediction:
    """Return the peer's answers for every crop, photo and scene, cached by the versions of peer, adapter and inputs.

    Raises:
        PeerError: the peer failed, or its answer is not one score per label of the seven.
    """
    folder, result, order = _kept(peer, env, cache, "predict", inputs.entries, inputs.stamp, fresh=fresh)
    scores = np.fromfile(folder / "scores.f32", "<f4").astype(np.float64)
    if scores.size != len(inputs.labels) * len(LABELS) or not np.isfinite(scores).all():
        raise PeerError(f"expected {len(inputs.labels)} rows of {len(LABELS)} finite scores, got {scores.size} values")
    pictures = {name: [_in_order(faces, order) for faces in result[name]] for name in ("photos", "scenes")}
    return Prediction(scores.reshape(-1, len(LABELS))[:, order], result["gives_probabilities"], **pictures)


def look(peer: Peer, env: Environment, photos: PhotoSet, cache: Path, *, fresh: bool = False) -> list[list[dict[str, Any]] | str]:
    """Return the faces {box_xyxy, scores} of every whole photo, or the peer's own error where it fails on one; kept like :func:`predict`.

    Raises:
        PeerError: the peer failed, answered other labels, or gave no answer for some photos.
    """
    _, result, order = _kept(peer, env, cache, "look", {"whole_photos": photos.entry}, photos.stamp, fresh=fresh)
    answers = result["whole_photos"]
    if len(answers) != len(photos.labels):
        raise PeerError(f"expected answers for {len(photos.labels)} photos, got {len(answers)}")
    return [answer if isinstance(answer, str) else _in_order(answer, order) for answer in answers]


def cost(peer: Peer, env: Environment, inputs: Inputs, cache: Path, *, seconds: float) -> dict[str, Any]:
    """Return {face_ms: {batch: ms}, photo_ms: [ms a photo], peak_mb}, measured now on one thread; a median takes ``seconds``.

    Raises:
        PeerError: the peer failed.
    """
    figures: dict[str, Any] = {}
    with one_core():
        for task in ("time", "memory"):
            folder = cache / "costs" / Path(env.folder).name
            _run(peer, env, inputs.entries, folder, task, seconds)
            figures |= json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return figures


@contextmanager
def one_core() -> Iterator[None]:
    """Limit this process and its child processes to one core. If the system has no such call, nothing changes."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(every)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def _kept(
    peer: Peer, env: Environment, cache: Path, task: str, entries: dict[str, Any], stamp: str, *, fresh: bool
) -> tuple[Path, dict[str, Any], list[int]]:
    """Return (folder, answer, for each of Mien's labels its place among the peer's) of a task, run unless its answer is there already."""
    adapters = Path(__file__).parent / "adapters"
    code = [(adapters / name).read_bytes() for name in (peer.adapter, "protocol.cjs" if peer.npm else "protocol.py")]
    digest = hashlib.sha256(b"".join((*code, f"{task} {env.key} {stamp} {sorted(peer.options.items())}".encode())))
    folder = cache / "predictions" / f"{Path(env.folder).name}-{digest.hexdigest()[:12]}"
    if fresh or not (folder / "result.json").is_file():
        _run(peer, env, entries, folder, task)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    labels = result["labels"]
    if sorted(labels) != sorted(LABELS):
        raise PeerError(f"expected the labels {', '.join(LABELS)}, got {', '.join(labels)}")
    return folder, result, [labels.index(label) for label in LABELS]


def _in_order(faces: list[dict[str, Any]], order: list[int]) -> list[dict[str, Any]]:
    return [{**face, "scores": [face["scores"][i] for i in order]} for face in faces]


def _run(peer: Peer, env: Environment, entries: dict[str, Any], folder: Path, task: str, seconds: float = 0) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job = {
        "task": task,
        "out": str(folder),
        "options": {"threads": "1", **peer.options},
        "batches": BATCHES,
        "seconds": seconds,
        **entries,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    call(env.command(peer, folder / "job.json"), Path(env.folder), TASK_LIMIT_S, **ONE_THREAD, **QUIET)
