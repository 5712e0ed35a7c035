"""Measures which face sizes are found in which picture sizes, and the cost in time and memory.

FER2013 faces are inserted into the head of the bundled portrait, because a detector recognises a small face by the head around it. The
heads are pasted on clutter, with every size in every picture. The bare crops are also pasted, and they are counted separately.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.scenes import FACE_BOX, MATCH_IOU, background
from benchmarks.timing import markdown, memory_mb
from mien.assets import demo_photo
from mien.contract import template_for
from mien.detect import find_detector
from mien.detect.find import check_min_face, find_faces
from mien.geometry import iou, similarity

FACES_PX = (12, 16, 20, 24, 32, 48, 96, 200)  # shorter side of the detector's box
PICTURES = ((640, 480), (1920, 1080), (4000, 3000), (8160, 6120))  # 0.3 to 50 megapixels
MIN_FACES = ("auto", "20", "12")
FEWEST = 60  # smallest number of faces per face size and picture size; it sets the number of pictures
HEADS, BARE = "in a head", "bare crops"
HEAD_XYXY = (110, 0, 340, 240)  # the head in the portrait
PORTRAIT_POINTS = ((202, 102), (247, 103), (221, 125), (200, 142), (240, 144))  # marked by hand
PORTRAIT_BOX = (178, 66, 262, 166)  # the detector's box in the portrait
GAP = 1.15  # space for a pasted picture, as a multiple of its side
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Count:
    """The result of one setting on the pictures of one size: (kind, face size) -> (found, pasted), false boxes, seconds, peak memory."""

    size_wh: tuple[int, int]
    min_face: str
    found: dict[tuple[str, int], tuple[int, int]]
    pictures: int
    false: int
    seconds: float
    peak_mb: float


def measure(
    images: NDArray[np.uint8],
    threads: int = 1,
    seed: int = 0,
    pictures: Sequence[tuple[int, int]] = PICTURES,
    min_faces: Sequence[str] = MIN_FACES,
    fewest: int = FEWEST,
) -> list[Count]:
    """Return one entry per picture size and setting. Each is measured in its own process, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        tasks = [(images[:200], size, min_face, threads, seed, fewest) for size in pictures for min_face in min_faces]
        return pool.starmap(count, tasks, chunksize=1)


def count(images: NDArray[np.uint8], size_wh: tuple[int, int], min_face: str, threads: int, seed: int, fewest: int) -> Count:
    """Return the result for pictures of one size with one setting."""
    detector = find_detector(threads=1, tiles_at_once=threads)
    smallest = check_min_face(min_face)
    found: dict[tuple[str, int], tuple[int, int]] = {}
    pictures, false, seconds = 0, 0, 0.0
    for frame, placed in made(images, size_wh, seed, fewest):
        began = time.perf_counter()
        faces = find_faces(detector, frame, smallest)
        seconds += time.perf_counter() - began
        pictures += 1
        boxes = np.array([face.box_xyxy for face in faces]).reshape(-1, 4)
        overlap = iou([box for _, _, box in placed], boxes) if len(boxes) else np.zeros((len(placed), 1))
        for (kind, side, _), seen in zip(placed, overlap.max(1) >= MATCH_IOU, strict=True):
            before, pasted = found.get((kind, side), (0, 0))
            found[kind, side] = before + int(seen), pasted + 1
        false += int((overlap.max(0) < MATCH_IOU).sum()) if len(boxes) else 0
    return Count(size_wh, min_face, found, pictures, false, seconds, memory_mb())


def made(
    images: NDArray[np.uint8], size_wh: tuple[int, int], seed: int, fewest: int
) -> Iterator[tuple[Frame, list[tuple[str, int, tuple[float, ...]]]]]:
    """Yield pictures and (kind, size, box) of the faces in them, until there are ``fewest`` of every kind and size, or none fits."""
    rng = np.random.default_rng(seed)
    wanted = {(kind, side): fewest for side in FACES_PX[::-1] for kind in (HEADS, BARE)}
    while any(wanted.values()):
        frame, placed = clutter(rng, size_wh), []
        for kind, side, (x, y), picture, box in _laid_out(rng, images, size_wh, wanted):
            height, width = picture.shape[:2]
            frame[y : y + height, x : x + width] = picture
            placed.append((kind, side, (x + box[0], y + box[1], x + box[2], y + box[3])))
        if not placed:
            return
        yield frame, placed


def _laid_out(
    rng: np.random.Generator, images: NDArray[np.uint8], size_wh: tuple[int, int], wanted: dict[tuple[str, int], int]
) -> Iterator[tuple[str, int, tuple[int, int], Frame, tuple[float, ...]]]:
    """Yield (kind, size, corner, picture, box in it) in rows from the top, large faces first, and reduce the counts in ``wanted``."""
    width, height = size_wh
    x = y = row = 0
    for (kind, side), left in list(wanted.items()):
        for _ in range(left):
            picture, box = head(rng, images, side) if kind == HEADS else bare(rng, images, side)
            room_w, room_h = math.ceil(picture.shape[1] * GAP), math.ceil(picture.shape[0] * GAP)
            if x + room_w > width:
                x, y, row = 0, y + row, 0
            if y + room_h > height or room_w > width:
                break
            wanted[kind, side] -= 1
            yield kind, side, (x, y), picture, box
            x, row = x + room_w, max(row, room_h)


def clutter(rng: np.random.Generator, size_wh: tuple[int, int]) -> Frame:
    """Return a picture without a face, made from the backgrounds of the scenes."""
    width, height = size_wh
    some = [background(rng) for _ in range(8)]
    rows, columns = (-(-side // part.item()) for side, part in zip((height, width), np.array(some[0].shape[:2]), strict=True))
    parts = rng.integers(0, len(some), (rows, columns))
    return np.concatenate([np.concatenate([some[index] for index in row], 1) for row in parts])[:height, :width].copy()


def head(rng: np.random.Generator, images: NDArray[np.uint8], side: int) -> tuple[Frame, tuple[float, ...]]:
    """Return the portrait's head with another face, scaled so that the face's box is ``side`` px wide, and that box."""
    with Image.open(demo_photo()) as photo:
        portrait = photo.convert("L")
    face = Image.fromarray(images[rng.integers(len(images))])
    matrix = similarity(PORTRAIT_POINTS, template_for(face.width)).ravel().tolist()  # from the portrait to the crop
    placed = face.convert("L").transform(portrait.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    mask = Image.new("L", portrait.size)
    x0, y0, x1, y1 = PORTRAIT_BOX
    ImageDraw.Draw(mask).ellipse((x0 + 6, y0 + 10, x1 - 6, y1 - 4), 255)
    portrait.paste(placed, mask=mask.filter(ImageFilter.GaussianBlur(4)))
    return _scaled(portrait.crop(HEAD_XYXY), [v - HEAD_XYXY[i % 2] for i, v in enumerate(PORTRAIT_BOX)], side)


def bare(rng: np.random.Generator, images: NDArray[np.uint8], side: int) -> tuple[Frame, tuple[float, ...]]:
    """Return a crop, scaled so that the face's box is ``side`` px wide, and that box."""
    face = Image.fromarray(images[rng.integers(len(images))])
    return _scaled(face, [v * face.width for v in FACE_BOX], side)


def _scaled(picture: Image.Image, box: Sequence[float], side: int) -> tuple[Frame, tuple[float, ...]]:
    scale = side / min(box[2] - box[0], box[3] - box[1])
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)), tuple(v * scale for v in box)


def table(counts: Sequence[Count]) -> str:
    """Return two tables: the faces found per face size, and the cost."""
    head_row = ("picture", "`--min-face`", *(f"{side} px" for side in FACES_PX))
    parts = [markdown((f"{kind}, faces of", *head_row[1:]), [_row(one, kind) for one in counts]) for kind in (HEADS, BARE)]
    cost = [
        (
            _name(one),
            f"`{one.min_face}`",
            f"{one.false / (one.pictures * _megapixels(one)):.2f}",
            f"{1000 * one.seconds / (one.pictures * _megapixels(one)):.0f}",
            f"{one.peak_mb:.0f}",
        )
        for one in counts
    ]
    parts.append(markdown(("picture", "`--min-face`", "false boxes per megapixel", "ms per megapixel", "peak memory, MB"), cost))
    return "\n\n".join(parts)


def _row(one: Count, kind: str) -> tuple[object, ...]:
    shares = [one.found.get((kind, side)) for side in FACES_PX]
    return (_name(one), f"`{one.min_face}`", *(f"{100 * share[0] / share[1]:.0f} %" if share else "-" for share in shares))


def _megapixels(one: Count) -> float:
    return math.prod(one.size_wh) / 1e6


def _name(one: Count) -> str:
    return f"{one.size_wh[0]} x {one.size_wh[1]}, {_megapixels(one):.1f} MP"
