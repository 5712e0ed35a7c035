"""Result + frame -> annotated frame: box, number or track id, label, and a small bar chart beside each face."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mien.results import Box, Face, FrameResult
from mien.sinks import in_words

# One colour a label, apart in hue and in lightness (after Okabe and Ito's palette for colour-blind readers).
COLOURS = {
    "angry": (230, 75, 53),
    "disgust": (120, 170, 60),
    "fear": (180, 120, 220),
    "happy": (245, 200, 50),
    "neutral": (200, 200, 200),
    "sad": (80, 150, 235),
    "surprise": (245, 145, 60),
}
OTHER_COLOURS = tuple(COLOURS.values())
PANEL = (16, 18, 22, 205)
WHITE = (255, 255, 255)
HIGHEST_CHART_SHARE = 0.6  # of the frame's height; a taller chart would hide the photo


def annotate(frame_rgb: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    """Return a copy of the frame, uint8 (H, W, 3), with every face of ``result`` marked.

    Text and lines grow with the frame; the chart of a face goes where it covers no other face and no other chart, and is left out
    where there is no such place.
    """
    image = Image.fromarray(frame_rgb)
    draw = ImageDraw.Draw(image, "RGBA")
    style = _Style.for_frame(image.width, image.height)
    taken: list[Box] = [face.box_xyxy for face in result.faces]
    for number, face in enumerate(result.faces, 1):
        _outline(draw, face, style)
        # Labels first: a person looks for them before any chart.
        taken.append(_label(draw, face, number, style, image.size))
    for face in result.faces:
        place = _chart_place(face, style, image.size, taken)
        if place:
            taken.append(place)
            _chart(draw, face, place, style)
    if not result.faces:
        _text_box(draw, (style.pad, style.pad), "no face found", style)
    return np.asarray(image, np.uint8)


def colour_of(label: str, labels: tuple[str, ...]) -> tuple[int, int, int]:
    """Return the RGB colour that stands for ``label``; labels of other data sets take the palette in their order."""
    return COLOURS.get(label) or OTHER_COLOURS[labels.index(label) % len(OTHER_COLOURS)]


@dataclass(frozen=True)
class _Style:
    """Sizes in pixels, derived from the frame's."""

    text: int
    line: int
    pad: int

    @classmethod
    def for_frame(cls, width: int, height: int) -> _Style:
        text = int(np.clip(min(width, height) / 34, 11, 64))
        return cls(text=text, line=max(2, text // 6), pad=max(2, text // 4))

    @property
    def font(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return _font(self.text)

    @property
    def small(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return _font(max(10, int(self.text * 0.78)))


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _outline(draw: ImageDraw.ImageDraw, face: Face, style: _Style) -> None:
    box = face.box_xyxy
    dark = tuple(v - style.line / 2 for v in box[:2]) + tuple(v + style.line / 2 for v in box[2:])
    draw.rectangle(dark, outline=(0, 0, 0, 140), width=2 * style.line)  # a dark edge keeps the line visible on light photos
    draw.rectangle(box, outline=_face_colour(face), width=style.line)


def _face_colour(face: Face) -> tuple[int, int, int]:
    emotions = face.smoothed or face.emotions
    return WHITE if face.uncertain else colour_of(emotions.top, emotions.labels)


def _label(draw: ImageDraw.ImageDraw, face: Face, number: int, style: _Style, size: tuple[int, int]) -> Box:
    emotions = face.smoothed or face.emotions
    name = f"#{face.track_id if face.track_id is not None else number}"
    text = f"{name} {in_words(face)}" if face.uncertain else f"{name} {emotions.top} {emotions.confidence:.2f}"
    width, height = _measure(draw, text, style)
    x0, y0, _, y1 = face.box_xyxy
    x = min(max(0, x0), size[0] - width)
    y = y0 - height - style.line if y0 - height - style.line >= 0 else min(y1 + style.line, size[1] - height)
    return _text_box(draw, (max(0.0, x), max(0.0, y)), text, style, _face_colour(face))


def _measure(draw: ImageDraw.ImageDraw, text: str, style: _Style) -> tuple[float, float]:
    left, _, right, _ = draw.textbbox((0, 0), text, font=style.font)
    return right - left + 2 * style.pad, style.text * 1.25 + 2 * style.pad


def _text_box(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, style: _Style, colour: tuple[int, int, int] = WHITE) -> Box:
    width, height = _measure(draw, text, style)
    box = (at[0], at[1], at[0] + width, at[1] + height)
    draw.rectangle(box, fill=PANEL)
    draw.rectangle((box[0], box[1], box[0] + style.line, box[3]), fill=colour)
    draw.text((box[0] + style.pad + style.line / 2, box[1] + height / 2), text, font=style.font, fill=WHITE, anchor="lm")
    return box


def _chart_place(face: Face, style: _Style, size: tuple[int, int], taken: list[Box]) -> Box | None:
    width, height = style.text * 9.5, len(face.emotions.labels) * style.text * 1.05 + 2 * style.pad
    if height > size[1] * HIGHEST_CHART_SHARE:
        return None
    x0, y0, x1, y1 = face.box_xyxy
    gap = 2 * style.line
    top = min(max(0, y0), size[1] - height)
    left = min(max(0, x0), size[0] - width)
    for x, y in ((x1 + gap, top), (x0 - gap - width, top), (left, y1 + gap), (left, y0 - gap - height - style.text * 2)):
        place = (x, y, x + width, y + height)
        inside = x >= 0 and y >= 0 and place[2] <= size[0] and place[3] <= size[1]
        if inside and not any(_overlap(place, other) for other in taken):
            return place
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _chart(draw: ImageDraw.ImageDraw, face: Face, place: Box, style: _Style) -> None:
    emotions = face.smoothed or face.emotions
    draw.rectangle(place, fill=PANEL)
    row = (place[3] - place[1] - 2 * style.pad) / len(emotions.labels)
    middle = place[0] + (place[2] - place[0]) * 0.47
    room = place[2] - style.pad - middle
    for i, (label, probability) in enumerate(emotions.to_dict().items()):
        y = place[1] + style.pad + row * i
        fill = WHITE if label == emotions.top else (205, 205, 205)
        draw.text((middle - style.pad, y + row / 2), label, font=style.small, fill=fill, anchor="rm")
        draw.rectangle((middle, y + row * 0.2, middle + room, y + row * 0.8), fill=(255, 255, 255, 28))
        draw.rectangle(
            (middle, y + row * 0.2, middle + max(1.0, room * probability), y + row * 0.8), fill=colour_of(label, emotions.labels)
        )
