"""Do ids stay with their people, and do labels stop flickering? ``python -m benchmarks.tracking --data DIR``.

FER2013 faces walk, cross, hide, come and go in synthetic scenes of 640x360 at 20 frames/s with known ground truth. The detections go to
Mien's tracker and to Mien's face following between two detections on the whole frame. With ``--trackers PYTHON`` (an interpreter that has
the package ``trackers``), they also go to the ByteTrack of that package. IDF1 is that of Ristani et al. 2016 (arXiv:1609.01775): twice the
number of detections with the id that fits their person best, divided by true faces plus tracked faces. Flicker and delay are measured with
the model on still faces with noise. Films of several shots show whether an id goes on to another person at
a cut, and whether continuous footage has false cuts. In these films, a person in two shots counts as one person in IDF1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.timing import machine, markdown
from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.detect import Detector, find_detector
from mien.face_tracker import DETECT_EVERY, FaceTracker
from mien.geometry import iou
from mien.media.cuts import CutDetector
from mien.track import Smoother, Tracker, assign
from mien.train.data.dataset import load

WIDTH, HEIGHT, FPS, SECONDS = 640, 360, 20, 6.0
SAME_FACE_IOU = 0.4  # from this IoU on, a detector's box and the box below are the same face
MIN_VISIBLE = 0.5  # visible share of a face that counts as present
FACE_BOX = (0.07, -0.01, 0.9, 1.02)  # the detector's box in a FER2013 crop of side 1, on average
NOISE = 8.0  # standard deviation of the sensor noise on a still face, in grey levels
STILL_FACES, CHANGES, STILL_FPS = 60, 40, 30
SHOT_SECONDS = 2.0  # of one shot of a film with cuts

Frame = NDArray[np.uint8]
Path2D = Callable[[float], tuple[float, float]]


@dataclass(frozen=True)
class Scene:
    """People (time -> centre of the face, nearest last), their sizes, a pillar in front of them, and the shake of the camera."""

    name: str
    people: tuple[Path2D, ...]
    sides: tuple[float, ...]
    pillar: tuple[int, int] | None = None  # x range, from and to
    shake_px: float = 0.0


@dataclass(frozen=True)
class Truth:
    """The visible faces of one frame: person -> box (x0, y0, x1, y1)."""

    boxes: dict[int, tuple[float, ...]]


Tracks = list[list[tuple[tuple[float, ...], int]]]  # per frame: (box, id)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013's folder or CSV")
    parser.add_argument("--model", default="default", help="a shipped model's name or a bundle folder")
    parser.add_argument("--trackers", type=Path, help="a Python that has the package 'trackers'")
    parser.add_argument("--save", type=Path, help="folder for the middle frame of every scene")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()

    faces = load(options.data)
    rows = faces.rows("public")
    images, labels = faces.images[rows], faces.labels[rows]
    detector = find_detector("auto", threads=1)
    table = [row for scene in scenes() for row in track_scene(scene, images, detector, options.trackers, options.save)]
    names = list(dict.fromkeys(name for _, name, *_ in table))
    for name in names:
        mine = [row for row in table if row[1] == name]
        table.append(("all", name, statistics.mean(row[2] for row in mine), sum(row[3] for row in mine), sum(row[4] for row in mine)))
    tracking = markdown(
        ("scene", "tracker", "IDF1", "id switches", "true faces"),
        [(s, n, f"{f:.3f}", switches, count) for s, n, f, switches, count in table],
    )
    films = [row for name, shots in films_with_cuts().items() for row in cut_film(name, shots, images, detector)]
    false_cuts, minutes = continuous_cuts(images)
    cuts = markdown(
        ("film", "ids end at cuts", "true cuts", "found", "false", "ids handed to another person", "ids per person", "IDF1"),
        [(*row[:-2], f"{row[-2]:.2f}", f"{row[-1]:.3f}") for row in films],
    )
    cuts += f"\n\nFalse cuts in {minutes:.2g} minutes of continuous footage: {false_cuts}, {10 * false_cuts / minutes:.2g} per ten minutes"
    steadiness = still_figures(Classifier(open_bundle(options.model), threads=1), images, labels)
    text = f"{machine()}\n\n{tracking}\n\n{cuts}\n\n{markdown(('what', 'figure'), [(k, f'{v:.3g}') for k, v in steadiness.items()])}"
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps(
                {
                    "machine": machine(),
                    "tracking": table,
                    "cuts": films,
                    "false_cuts_per_ten_minutes": 10 * false_cuts / minutes,
                    "steadiness": steadiness,
                    "markdown": text,
                },
                indent=1,
            )
            + "\n",
            "utf-8",
        )


def scenes() -> list[Scene]:
    """Return the scenes."""

    def walk(x: float, y: float, speed: float, bob: float = 3) -> Path2D:
        return lambda t: (x + speed * t, y + bob * math.sin(7 * t + x))

    def sway(x: float, y: float, reach: float, pace: float) -> Path2D:
        return lambda t: (x + reach * math.sin(pace * t + x), y + 0.5 * reach * math.cos(1.3 * pace * t + y))

    grid = [(60 + 104 * (n % 6), 110 + 140 * (n // 6)) for n in range(12)]
    return [
        Scene("2 people cross", (walk(520, 170, -75), walk(120, 180, 75)), (90, 100)),
        Scene("4 people cross", (walk(40, 120, 85), walk(600, 130, -85), walk(600, 235, -60), walk(40, 245, 70)), (80, 84, 92, 96)),
        Scene("6 enter and leave", tuple(walk(x, y, v) for x, y, v in _passers()), (72, 76, 80, 84, 88, 92)),
        Scene("3 pass behind a pillar", (walk(60, 80, 85), walk(600, 180, -80), walk(20, 280, 90)), (80, 84, 88), pillar=(270, 370)),
        Scene("4 people, the camera shakes", tuple(sway(x, 170, 15, 1) for x in (110, 250, 390, 530)), (84, 88, 92, 96), shake_px=7),
        Scene("8 people sway", tuple(sway(x, y, 30, 1.5 + x / 400) for x, y in grid[:8]), (76,) * 8),
        Scene("12 people sway, the camera shakes", tuple(sway(x, y, 12, 2 + x / 300) for x, y in grid), (72,) * 12, shake_px=4),
    ]


def _passers() -> list[tuple[float, float, float]]:
    """Return start x, start y and speed of six people who come and go on three lanes."""
    return [(-60, 70, 130), (700, 80, -110), (-150, 180, 120), (760, 190, -140), (-260, 290, 140), (700, 280, -70)]


def track_scene(
    scene: Scene, images: Frame, detector: Detector, trackers: Path | None, save: Path | None
) -> Iterator[tuple[str, str, float, int, int]]:
    """Yield (scene, tracker, IDF1, id switches, true faces) for every tracker."""
    times, truths, found = [], [], []
    tracker, face_tracker = Tracker(), FaceTracker(detector, min_face=20)
    mine, followed = [], []
    for number, (time_s, frame, truth) in enumerate(film(scene, images)):
        faces = detector.detect(frame, min_face=20)
        boxes, scores = [face.box_xyxy for face in faces], [face.score for face in faces]
        times.append(time_s)
        truths.append(truth)
        found.append((boxes, scores))
        mine.append([(box, i) for box, i in zip(boxes, tracker.update(time_s, boxes, scores), strict=True) if i])
        followed.append([(face.box_xyxy, i) for face, i in face_tracker.find(time_s, frame) if i])
        if save and number == round(FPS * SECONDS / 2):
            save.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(save / f"{scene.name}.png")
    answers: dict[str, Tracks] = {"Mien, every frame": mine, f"Mien, newcomers every {DETECT_EVERY} frames (the default)": followed}
    if trackers:
        answers["trackers ByteTrack"] = byte_track(found, trackers, 30)
        answers["trackers ByteTrack, 2 s of memory"] = byte_track(found, trackers, 60)
    for name, tracks in answers.items():
        yield scene.name, name, *score(truths, tracks)


def films_with_cuts() -> dict[str, list[Scene]]:
    """Return films by name: their shots, of :data:`SHOT_SECONDS` each. Shots of one name show the same room and people."""
    crossing, crowd, passers = (scenes()[i] for i in (0, 1, 2))
    here, there = ((lambda t, x=x: (x + 10 * math.sin(2 * t), 180.0),) for x in (320, 322))
    left, right = Scene("host", here, (150,)), Scene("guests", there, (150,))  # of one name each, and of one place in the picture
    return {
        "two cameras, two people at the same place": [left, right] * 4,
        "people leave and return": [passers, left, passers, right],
        "crossings across a cut": [crossing, crowd, crossing, crowd],
    }


def cut_film(
    name: str, shots: Sequence[Scene], images: Frame, detector: Detector
) -> Iterator[tuple[str, str, int, int, int, int, float, float]]:
    """Yield the rows of one film, as the table has them, without and with the search for cuts."""
    frames: list[tuple[float, Frame, Truth]] = []
    starts = []
    first_of: dict[str, int] = {}
    for shot in shots:
        first = first_of.setdefault(shot.name, 100 * len(first_of))
        starts.append(len(frames))
        for _, frame, truth in itertools.islice(film(shot, images), round(FPS * SHOT_SECONDS)):
            frames.append((len(frames) / FPS, frame, Truth({first + person: box for person, box in truth.boxes.items()})))
    for how, cuts in (("no", CutDetector(min_change=2, min_new=1)), ("yes", CutDetector())):
        tracker = FaceTracker(detector, min_face=20, cuts=cuts)
        tracks, found = [], []
        for number, (time_s, frame, _) in enumerate(frames):
            tracks.append([(face.box_xyxy, i) for face, i in tracker.find(time_s, frame) if i])
            found += [number] if tracker.after_cut else []
        truths = [truth for *_, truth in frames]
        people_of, ids_of = owners(truths, tracks)
        handed = sum(len(people) > 1 for people in people_of.values())
        per_person = sum(map(len, ids_of.values())) / max(len(ids_of), 1)
        right = len(set(found) & set(starts[1:]))
        yield name, how, len(starts) - 1, right, len(found) - right, handed, per_person, score(truths, tracks)[0]


def owners(truths: Sequence[Truth], tracks: Tracks) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """Return the people who had each id, and the ids of each person."""
    people_of: dict[int, set[int]] = {}
    ids_of: dict[int, set[int]] = {}
    for truth, frame in zip(truths, tracks, strict=True):
        people = list(truth.boxes)
        overlap = iou([truth.boxes[p] for p in people], [box for box, _ in frame])
        overlap[overlap < SAME_FACE_IOU] = 0
        for row, column in assign(overlap):
            people_of.setdefault(frame[column][1], set()).add(people[row])
            ids_of.setdefault(people[row], set()).add(frame[column][1])
    return people_of, ids_of


def continuous_cuts(images: Frame) -> tuple[int, float]:
    """Return how many cuts are found in the scenes, none of which has one, and their length in minutes."""
    count = frames = 0
    for scene in scenes():
        detector = CutDetector()
        for _, frame, _ in film(scene, images):
            count += detector.is_cut(frame)
            frames += 1
    return count, frames / FPS / 60


def film(scene: Scene, images: Frame) -> Iterator[tuple[float, Frame, Truth]]:
    """Yield (time, RGB frame, truth). The face of each person and the background do not change."""
    rng = np.random.default_rng(len(scene.name))
    soft = Image.fromarray(rng.integers(60, 200, (12, 20, 3), dtype=np.uint8)).resize((WIDTH + 80, HEIGHT + 80), Image.Resampling.BICUBIC)
    chosen = [Image.fromarray(images[i]) for i in rng.choice(len(images), len(scene.people), replace=False)]
    crops = [
        face.resize((round(side), round(side)), Image.Resampling.BICUBIC).convert("RGB")
        for face, side in zip(chosen, scene.sides, strict=True)
    ]
    for number in range(round(FPS * SECONDS)):
        time_s = number / FPS
        shake = rng.normal(0, scene.shake_px, 2)
        frame = soft.crop((40 - round(shake[0]), 40 - round(shake[1]), 40 - round(shake[0]) + WIDTH, 40 - round(shake[1]) + HEIGHT))
        owner = np.full((HEIGHT, WIDTH), -1)
        squares = {}
        for person, (path, crop) in enumerate(zip(scene.people, crops, strict=True)):
            x, y = (round(centre - crop.width / 2 + jump) for centre, jump in zip(path(time_s), shake, strict=True))
            frame.paste(crop, (x, y), _soft_edge(crop.width))
            owner[max(y, 0) : max(y + crop.width, 0), max(x, 0) : max(x + crop.width, 0)] = person
            squares[person] = (x, y, crop.width)
        if scene.pillar:
            frame.paste((70, 60, 50), (scene.pillar[0], 0, scene.pillar[1], HEIGHT))
            owner[:, scene.pillar[0] : scene.pillar[1]] = -1
        noisy = np.asarray(frame, np.float64) + rng.normal(0, 3, (HEIGHT, WIDTH, 1))
        seen = {person: square for person, square in squares.items() if (owner == person).sum() >= MIN_VISIBLE * square[2] ** 2}
        boxes = {person: tuple(c + side * f for c, f in zip((x, y, x, y), FACE_BOX, strict=True)) for person, (x, y, side) in seen.items()}
        yield time_s, np.asarray(noisy.clip(0, 255), np.uint8), Truth(boxes)


def _soft_edge(side: int) -> Image.Image:
    mask = Image.new("L", (side, side), 0)
    mask.paste(255, (3, 3, side - 3, side - 3))
    return mask.filter(ImageFilter.GaussianBlur(2))


def byte_track(found: Sequence[tuple[list[tuple[float, ...]], list[float]]], python: Path, buffer: int) -> Tracks:
    """Return the tracks of the ByteTrack of the package ``trackers`` for the same detections."""
    code = """
import json, sys
import numpy as np, supervision as sv
from trackers import ByteTrackTracker
job = json.load(sys.stdin)
tracker = ByteTrackTracker(lost_track_buffer=job["buffer"], frame_rate=job["fps"])
out = []
for boxes, scores in job["found"]:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    answer = tracker.update(sv.Detections(xyxy=boxes, confidence=np.array(scores, np.float32), class_id=np.zeros(len(boxes), int)))
    out.append([[box.tolist(), int(i)] for box, i in zip(answer.xyxy, answer.tracker_id) if i >= 0] if len(boxes) else [])
json.dump(out, sys.stdout)
"""
    job = json.dumps({"found": found, "buffer": buffer, "fps": FPS})
    done = subprocess.run([python, "-c", code], input=job, capture_output=True, text=True, check=True)
    return [[(tuple(box), i) for box, i in frame] for frame in json.loads(done.stdout.splitlines()[-1])]


def score(truths: Sequence[Truth], tracks: Tracks) -> tuple[float, int, int]:
    """Return IDF1, id switches and the number of true faces."""
    together: dict[tuple[int, int], int] = {}
    last: dict[int, int] = {}
    switches = 0
    for truth, frame in zip(truths, tracks, strict=True):
        people = list(truth.boxes)
        overlap = iou([truth.boxes[p] for p in people], [box for box, _ in frame])
        overlap[overlap < SAME_FACE_IOU] = 0
        for row, column in assign(overlap):
            person, track_id = people[row], frame[column][1]
            together[person, track_id] = together.get((person, track_id), 0) + 1
            switches += last.setdefault(person, track_id) != track_id
            last[person] = track_id
    people, ids = sorted({p for p, _ in together}), sorted({i for _, i in together})
    counts = np.array([[together.get((p, i), 0) for i in ids] for p in people]).reshape(len(people), len(ids))
    right = sum(counts[row, column] for row, column in assign(counts))
    true = sum(len(truth.boxes) for truth in truths)
    return 2 * float(right) / (true + sum(map(len, tracks))), switches, true


def still_figures(classifier: Classifier, images: Frame, labels: NDArray[np.int64]) -> dict[str, float]:
    """Return label changes per second on still faces, raw and smoothed, and the delay of a change of expression in seconds."""
    rng = np.random.default_rng(0)
    raw_changes = smooth_changes = 0
    for row in rng.choice(len(images), STILL_FACES, replace=False):
        raw = classifier.probabilities(_noisy(images[row], 2 * STILL_FPS, rng))
        raw_changes += _changes(raw)
        smooth_changes += _changes(_smoothed(raw))
    probabilities = classifier.probabilities(images)
    certain = np.flatnonzero((probabilities.argmax(1) == labels) & (probabilities.max(1) > 0.7))
    delays = []
    while len(delays) < CHANGES:
        before, after = rng.choice(certain, 2)
        if labels[before] == labels[after]:
            continue
        raw = classifier.probabilities(np.concatenate([_noisy(images[i], STILL_FPS, rng) for i in (before, after)]))
        shown = _smoothed(raw).argmax(1)[STILL_FPS:] == labels[after]
        delays.append(float(shown.argmax()) / STILL_FPS if shown.any() else math.inf)
    seconds = 2 * STILL_FACES
    return {
        "label changes a second on a still face, raw": raw_changes / seconds,
        "label changes a second on a still face, smoothed": smooth_changes / seconds,
        "flicker removed, %": 100 * (1 - smooth_changes / max(raw_changes, 1)),
        "delay of a change of expression, median s": statistics.median(delays),
        "delay of a change of expression, 95th percentile s": float(np.quantile(delays, 0.95)),
    }


def _noisy(image: Frame, count: int, rng: np.random.Generator) -> Frame:
    """Return copies (count, S, S) of an image with sensor noise and shifts of up to one pixel, like those of a detector's box."""
    frames = [np.roll(image, rng.integers(-1, 2, 2), (0, 1)) + rng.normal(0, NOISE, image.shape) for _ in range(count)]
    return np.asarray(np.clip(frames, 0, 255), np.uint8)


def _smoothed(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    smoother = Smoother()
    return np.array([smoother.smooth(1, i / STILL_FPS, row.tolist()) for i, row in enumerate(probabilities)])


def _changes(probabilities: NDArray[np.float64]) -> int:
    return int(np.count_nonzero(np.diff(probabilities.argmax(1))))


if __name__ == "__main__":
    main()
