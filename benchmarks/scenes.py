"""Does Mien work on photos, and not only on crops? ``python -m benchmarks.scenes --data DIR``.

FER2013 faces are enlarged 2 to 6 times, rolled by up to 15 degrees and pasted on cluttered backgrounds, one to six per scene of 640x480.
The whole pipeline runs on the scenes. Its accuracy on the faces that it finds is compared with the accuracy of the same model on the plain
crops of the same faces. PrivateTest is only reported; use ``--split public`` for tuning.

``--part rolls`` turns such scenes as a whole. ``--part sizes`` pastes faces of 12 to 200 px into pictures of 0.3 to 50 megapixels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from skimage import data as pictures

from benchmarks.timing import markdown
from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.contract import template_for
from mien.detect.base import SURE_FACE
from mien.draw import annotate
from mien.geometry import Floats, invert, iou, transform
from mien.pipeline import Pipeline
from mien.results import Face, FrameResult
from mien.train.data.dataset import load
from mien.train.evaluation.metrics import Z95, wilson

WIDTH, HEIGHT = 640, 480
SCALES = (2.0, 6.0)  # factors of enlargement of a 48 px crop
ROLL_DEG = 15.0
MAX_FACES = 6
SOFT_EDGE = 2  # pixels of the 48 px crop over which it fades into the background
TRIES = 40  # places to try for one face before it moves to the next scene
TEXTURES = ("brick", "grass", "gravel", "coffee", "rocket", "text")  # pictures of scikit-image without a face
# The detector's box in a FER2013 crop of side 1, on average over the training faces.
FACE_BOX = (0.07, -0.01, 0.9, 1.02)
MATCH_IOU = 0.35
BANDS = ((2, 3), (3, 4), (4, 5), (5, 6))
SCORES = (0, 0.5, 0.6, SURE_FACE, 0.8, 0.85, 0.9, 1)  # edges of the bands of detector scores, which are always below 1

Grey = NDArray[np.uint8]
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Pasted:
    """A face in a scene: the row of its image, its enlargement, and the 2x3 matrix from crop pixels to scene pixels."""

    row: int
    scale: float
    to_scene: Floats
    side: int

    @property
    def box_xyxy(self) -> NDArray[np.float64]:
        """The upright box, in scene pixels, around the expected box of the detector."""
        return _around(self.to_scene, np.array(FACE_BOX) * self.side)


@dataclass(frozen=True)
class Scene:
    """A picture, uint8 (480, 640, 3), and its faces."""

    frame_rgb: Frame
    faces: tuple[Pasted, ...]


@dataclass(frozen=True)
class Outcome:
    """The result for one pasted face. The last four fields are None for a face that was not found.

    ``landmark_error`` is the mean distance of the five landmarks from the template, in pixels of a 48 px crop.
    """

    row: int
    scale: float
    found: bool
    right: bool | None = None
    right_on_crop: bool | None = None
    landmark_error: float | None = None
    score: float | None = None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013's folder or CSV")
    parser.add_argument("--part", choices=("photos", "rolls", "sizes"), default="photos")
    parser.add_argument("--split", choices=("private", "public"), default="private")
    parser.add_argument("--model", default="fer2013", help="a model of FER2013's labels: a shipped one or a bundle folder")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--count", type=int, help="number of scenes; by default enough to use every face once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path, help="folder for the first twelve scenes, annotated")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()

    classifier = Classifier(open_bundle(options.model), threads=options.threads)
    pipeline = Pipeline(classifier=classifier, detector=options.detector, threads=options.threads)
    faces = load(options.data, size=classifier.spec.chip_size, channels=classifier.spec.channels)
    rows = faces.rows(options.split)
    labels = [faces.label_names[index] for index in faces.labels[rows]]
    if options.part != "photos":
        _write(options.json, options.split, _other_part(options, pipeline, faces.images[rows], labels))
        return
    made = scenes(faces.images[rows], count=options.count, seed=options.seed)
    outcomes, count, false = measure(pipeline, classifier, faces.images[rows], labels, made, options.save)
    figures = {"scenes": count, "false detections": len(false), **summary(outcomes)}
    head = ("enlarged", "faces", "found, %", "landmark error, px of 48", "accuracy, %", "on the plain crops, %")
    scored = ("the detector's score", "boxes", "no face", "face read rightly, % of the boxes")
    tables = "\n\n".join(
        (
            markdown(("what", options.split), figures.items()),
            markdown(head, by_scale(outcomes)),
            markdown(scored, by_score(outcomes, false)),
        )
    )
    _write(options.json, options.split, tables, figures)


def _other_part(options: argparse.Namespace, pipeline: Pipeline, images: NDArray[np.uint8], labels: Sequence[str]) -> str:
    """Return the table of ``--part rolls`` or ``--part sizes``."""
    from benchmarks import scene_rolls, scene_sizes

    if options.part == "sizes":
        return scene_sizes.table(scene_sizes.measure(images, options.threads, options.seed))
    upright = scenes(images, count=options.count, seed=options.seed, roll_deg=0)
    return scene_rolls.table(scene_rolls.measure(pipeline, labels, upright))


def _write(file: Path | None, split: str, tables: str, figures: dict[str, int | str] | None = None) -> None:
    print(tables)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        values = {"split": split, **({"figures": figures} if figures else {}), "markdown": tables}
        file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def scenes(images: NDArray[np.uint8], *, count: int | None = None, seed: int = 0, roll_deg: float = ROLL_DEG) -> Iterator[Scene]:
    """Yield scenes that use every image, uint8 (N, S, S) or (N, S, S, 3), once in random order, or only the first ``count`` scenes.

    Faces are rolled by up to ``roll_deg`` degrees to both sides.
    """
    rng = np.random.default_rng(seed)
    waiting = rng.permutation(len(images)).tolist()
    made = 0
    while waiting and (count is None or made < count):
        frame = background(rng)
        placed: list[Pasted] = []
        for row in waiting[: int(rng.integers(1, MAX_FACES + 1))]:
            if face := _place(rng, row, images.shape[1], placed, roll_deg):
                frame = paste(frame, images[row], face.to_scene)
                placed.append(face)
        used = {face.row for face in placed}
        waiting = [row for row in waiting if row not in used]
        made += 1
        yield Scene(frame, tuple(placed))


def background(rng: np.random.Generator) -> Frame:
    """Return clutter without a face, uint8 (480, 640, 3): a gradient or a texture, noise at several scales, rectangles, lines, ellipses."""
    if rng.random() < 0.5:
        corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        image = Image.fromarray(corners).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    else:
        image = Image.fromarray(getattr(pictures, str(rng.choice(TEXTURES)))()).convert("RGB").resize((WIDTH, HEIGHT))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 25))):
        x, y = rng.integers(-40, (WIDTH, HEIGHT)).tolist()
        w, h = rng.integers(10, 200, 2).tolist()
        colour = tuple(rng.integers(0, 256, 3).tolist())
        shape = rng.choice(("rectangle", "line", "ellipse"))
        if shape == "line":
            draw.line((x, y, x + w - 100, y + h - 100), colour, width=int(rng.integers(1, 8)))
        else:
            getattr(draw, shape)((x, y, x + w, y + h), colour if rng.random() < 0.5 else None, colour)
    values = np.asarray(image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 2)))), np.float32)
    for cell in (1, 8, 64):
        grains = rng.normal(0, rng.uniform(0, 16), (-(-HEIGHT // cell), -(-WIDTH // cell), 1)).astype(np.float32)
        values = values + grains.repeat(cell, 0).repeat(cell, 1)[:HEIGHT, :WIDTH]
    return values.clip(0, 255).astype(np.uint8)


def paste(frame_rgb: Frame, face: Grey, to_scene: Floats) -> Frame:
    """Return the frame with a square crop, uint8 (S, S) or (S, S, 3), blended in through the 2x3 matrix ``to_scene``."""
    side = face.shape[0]
    fade = SOFT_EDGE * side / 48
    depth = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5)
    mask = Image.fromarray((np.minimum.outer(depth, depth) / fade).clip(0, 1).astype(np.float32))
    x0, y0, x1, y1 = _around(to_scene, (0, 0, side, side)).astype(int)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1 + 1, frame_rgb.shape[1]), min(y1 + 1, frame_rgb.shape[0])
    to_crop = invert(to_scene)
    to_crop[:, 2] += to_crop[:, :2] @ (x0, y0)
    size, matrix = (x1 - x0, y1 - y0), to_crop.ravel().tolist()
    inside = Image.fromarray(face).convert("RGB").transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    alpha = np.asarray(mask.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))[..., None]
    out = frame_rgb.copy()
    out[y0:y1, x0:x1] = (alpha * np.asarray(inside) + (1 - alpha) * out[y0:y1, x0:x1]).round()
    return out


def measure(
    pipeline: Pipeline,
    classifier: Classifier,
    images: NDArray[np.uint8],
    labels: Sequence[str],
    made: Iterator[Scene],
    save: Path | None = None,
    most_saved: int = 12,
) -> tuple[list[Outcome], int, list[float]]:
    """Return (one outcome per pasted face, number of scenes, scores of the detections that are not pasted faces)."""
    names = classifier.spec.labels
    on_crop = [names[index] for index in classifier.probabilities(images).argmax(1)]
    outcomes: list[Outcome] = []
    false: list[float] = []
    count = 0
    for scene in made:
        result = pipeline.analyze(scene.frame_rgb)
        matched = match(scene.faces, result.faces)
        for pasted, face in zip(scene.faces, matched, strict=True):
            if face is None:
                outcomes.append(Outcome(pasted.row, pasted.scale, found=False))
                continue
            truth = labels[pasted.row]
            error = landmark_error(pasted, face)
            outcomes.append(Outcome(pasted.row, pasted.scale, True, face.top == truth, on_crop[pasted.row] == truth, error, face.score))
        false += [face.score for face in result.faces if not any(face is one for one in matched)]
        if save and count < most_saved:
            _save(scene, result, save / f"scene_{count:02d}.png")
        count += 1
    return outcomes, count, false


def match(pasted: Sequence[Pasted], faces: Sequence[Face]) -> list[Face | None]:
    """Return, for each pasted face, the detection that overlaps it most, or None. Pasted faces do not overlap each other."""
    if not faces:
        return [None] * len(pasted)
    overlap = iou([p.box_xyxy for p in pasted], [f.box_xyxy for f in faces])
    return [faces[int(row.argmax())] if row.max() >= MATCH_IOU else None for row in overlap]


def landmark_error(pasted: Pasted, face: Face) -> float:
    """Return the mean distance of a detection's landmarks from the template, in pixels of a 48 px crop."""
    in_crop = transform(invert(pasted.to_scene), face.landmarks)
    distances = np.linalg.norm(in_crop - template_for(pasted.side), axis=1)
    return float(distances.mean()) * 48 / pasted.side


def summary(outcomes: Sequence[Outcome]) -> dict[str, int | str]:
    """Return the figures of a run, ready to print. Shares have 95 % intervals."""
    found = [o for o in outcomes if o.found]
    errors = np.array([o.landmark_error for o in found], float)
    low, high = wilson(len(found), len(outcomes))
    right, plain = (np.array([getattr(o, key) for o in found], float) for key in ("right", "right_on_crop"))
    change = 100 * (right - plain)
    half = Z95 * change.std() / max(1, len(change)) ** 0.5
    return {
        "faces": len(outcomes),
        "found, %": f"{100 * len(found) / len(outcomes):.2f} ({100 * low:.2f} to {100 * high:.2f})",
        "landmark error, px of the 48 px crop (median)": f"{errors.mean():.2f} ({np.median(errors):.2f})",
        "accuracy on found faces, %": f"{100 * right.mean():.2f}",
        "accuracy on the same faces' plain crops, %": f"{100 * plain.mean():.2f}",
        "difference, points": f"{change.mean():+.2f} ({change.mean() - half:+.2f} to {change.mean() + half:+.2f})",
    }


def by_scale(outcomes: Sequence[Outcome]) -> list[tuple[object, ...]]:
    """Return one row per band of enlargements: name, faces, % found, landmark error, accuracy, accuracy on the plain crops."""
    table: list[tuple[object, ...]] = []
    for low, high in BANDS:
        band = [o for o in outcomes if low <= o.scale < high]
        found = [o for o in band if o.found]
        if found:
            means = (np.mean([getattr(o, key) for o in found]) for key in ("landmark_error", "right", "right_on_crop"))
            error, right, plain = (float(mean) for mean in means)
            share = f"{100 * len(found) / len(band):.1f}"
            table.append((f"{low} to {high} times", len(band), share, f"{error:.2f}", f"{100 * right:.1f}", f"{100 * plain:.1f}"))
    return table


def by_score(outcomes: Sequence[Outcome], false: Sequence[float]) -> list[tuple[object, ...]]:
    """Return one row per band of detector scores: name, boxes, boxes without a face, % of the boxes with a right answer."""
    table: list[tuple[object, ...]] = []
    for low, high in pairwise(SCORES):
        right = [bool(o.right) for o in outcomes if o.score is not None and low <= o.score < high]
        clutter = sum(low <= score < high for score in false)
        if boxes := len(right) + clutter:
            table.append((f"{low:g} to {high:g}", boxes, clutter, f"{100 * sum(right) / boxes:.1f}"))
    return table


def _place(rng: np.random.Generator, row: int, side: int, placed: Sequence[Pasted], roll_deg: float = ROLL_DEG) -> Pasted | None:
    """Return a place for a crop of ``side`` px inside the scene that does not overlap the others, or None if none was found."""
    scale = float(rng.uniform(*SCALES))
    angle = np.deg2rad(rng.uniform(-roll_deg, roll_deg))
    zoom = scale * 48 / side
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centred = np.column_stack([turn, turn @ (-side / 2, -side / 2)])
    reach = _around(centred, (0, 0, side, side))[2:]  # half width and height of the turned square
    others = np.array([_around(p.to_scene, (0, 0, side, side)) for p in placed]).reshape(-1, 4)
    for _ in range(TRIES):
        centre = rng.uniform(reach, (WIDTH, HEIGHT) - reach)
        if not iou([(*(centre - reach), *(centre + reach))], others).any():
            return Pasted(row, scale, centred + np.column_stack([np.zeros((2, 2)), centre]), side)
    return None


def _around(matrix: Floats, box: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upright box around a box that a 2x3 matrix has transformed."""
    x0, y0, x1, y1 = box
    corners = transform(matrix, [(x0, y0), (x1, y0), (x0, y1), (x1, y1)])
    return np.concatenate([corners.min(0), corners.max(0)])


def _save(scene: Scene, result: FrameResult, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(annotate(scene.frame_rgb, result))
    draw = ImageDraw.Draw(image)
    for pasted in scene.faces:
        side = pasted.side
        square = transform(pasted.to_scene, [(0, 0), (side, 0), (side, side), (0, side), (0, 0)])
        draw.line([tuple(point) for point in square.tolist()], (255, 0, 255))
        for x, y in transform(pasted.to_scene, template_for(side)).tolist():
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), outline=(255, 0, 255))
    for face in result.faces:
        for x, y in face.landmarks:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(0, 255, 255))
    image.save(file)


if __name__ == "__main__":
    main()
