"""Result + frame -> annotated frame: a box, a number or track id, a label, and a small bar chart per face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mien.arrays import Frame
from mien.results import Box, Face, FrameResult
from mien.wording import in_words

# One colour per label. The colours differ in hue and lightness (after Okabe and Ito's palette for colour-blind readers).
COLOURS = {
    "angry": (230, 75, 53),
    "disgust": (120, 170, 60),
    "fear": (180, 120, 220),
    "happy": (245, 200, 50),
    "neutral": (200, 200, 200),
    "sad": (80, 150, 235),
    "surprise": (245, 145, 60),
    "contempt": (50, 185, 170),
}
OTHER_COLOURS = tuple(COLOURS.values())
PANEL = (16, 18, 22, 205)
CLOSEUP_SIDE = 192  # pixels
CLOSEUP_TEXT = 13
WHITE = (255, 255, 255)
CHART_SIZES = (1.0, 0.75, 0.6)  # in sizes of the label's text
MIN_TEXT = 9
MAX_CHART_SHARE = 0.6  # of the frame's height; a taller chart would hide the photo


def annotate(frame_rgb: Frame, result: FrameResult) -> Frame:
    """Return a copy of the frame, uint8 (H, W, 3), with every face of ``result`` marked.

    Text and lines scale with the frame. The chart of a face must not cover another face or chart. If there is no place for it, it is
    left out.
    """
    image = Image.fromarray(frame_rgb)
    draw = ImageDraw.Draw(image, "RGBA")
    style = _Style.for_frame(image.width, image.height)
    taken: list[Box] = [face.box_xyxy for face in result.faces]
    for number, face in enumerate(result.faces, 1):
        _outline(draw, face, style)
        # Labels first: they are more important than charts.
        taken.append(_label(draw, face, number, style, image.size))
    for face in result.faces:
        place = _chart_place(face, style, image.size, taken)
        if place:
            taken.append(place[0])
            _chart(draw, face, *place, style)
    if not result.faces:
        _text_box(draw, (style.pad, style.pad), "no face found", style)
    return np.asarray(image, np.uint8)


@dataclass(frozen=True)
class Closeup:
    """One face, enlarged: the plain and the marked picture, both uint8 (H, W, 3), and two lines of text."""

    plain: Frame
    marked: Frame
    title: str
    detail: str


def add_closeups(picture: Frame, closeups: Sequence[Closeup], legend: Sequence[tuple[tuple[int, int, int], str]]) -> Frame:
    """Return ``picture``, uint8 (H, W, 3), with close-ups in rows below it, and a legend of the colours at the end.

    If a close-up is wider than the picture, dark margins widen the picture.

    Args:
        picture: uint8 (H, W, 3) RGB.
        closeups: the close-ups, in the order of display.
        legend: RGB colours and their meaning.
    """
    gap = CLOSEUP_TEXT
    width, height = 2 * CLOSEUP_SIDE + gap, CLOSEUP_SIDE + 4 * CLOSEUP_TEXT
    columns = max(1, (picture.shape[1] - gap) // (width + gap))
    rows = -(-len(closeups) // columns)
    size = (max(picture.shape[1], width + 2 * gap), picture.shape[0] + gap + rows * (height + gap) + 2 * CLOSEUP_TEXT)
    sheet = Image.new("RGB", size, PANEL[:3])
    sheet.paste(Image.fromarray(picture), ((size[0] - picture.shape[1]) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for index, closeup in enumerate(closeups):
        row, column = divmod(index, columns)
        x, y = gap + column * (width + gap), picture.shape[0] + gap + row * (height + gap)
        draw.text((x, y), closeup.title, font=_font(CLOSEUP_TEXT), fill=WHITE)
        draw.text((x, y + 1.5 * CLOSEUP_TEXT), closeup.detail, font=_font(CLOSEUP_TEXT - 2), fill=(205, 205, 205))
        for shift, crop in ((0, closeup.plain), (CLOSEUP_SIDE + gap, closeup.marked)):
            large = ImageOps.pad(Image.fromarray(crop), (CLOSEUP_SIDE, CLOSEUP_SIDE), Image.Resampling.BICUBIC, PANEL[:3])
            sheet.paste(large, (x + shift, y + int(3.2 * CLOSEUP_TEXT)))
    x = float(gap)
    for colour, meaning in legend:
        y = size[1] - 1.5 * CLOSEUP_TEXT
        draw.rectangle((x, y, x + CLOSEUP_TEXT, y + CLOSEUP_TEXT), fill=colour)
        draw.text((x + 1.5 * CLOSEUP_TEXT, y + CLOSEUP_TEXT / 2), meaning, font=_font(CLOSEUP_TEXT - 1), fill=WHITE, anchor="lm")
        x += draw.textlength(meaning, font=_font(CLOSEUP_TEXT - 1)) + 3 * CLOSEUP_TEXT
    return np.asarray(sheet, np.uint8)


def colour_of(label: str, labels: tuple[str, ...]) -> tuple[int, int, int]:
    """Return the RGB colour of ``label``. Labels of other data sets get the colours of the palette in order."""
    return COLOURS.get(label) or OTHER_COLOURS[labels.index(label) % len(OTHER_COLOURS)]


@dataclass(frozen=True)
class _Style:
    """Sizes of text and lines in pixels, derived from the size of the frame."""

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


def _chart_place(face: Face, style: _Style, size: tuple[int, int], taken: list[Box]) -> tuple[Box, int] | None:
    """Return the chart's box and text size: the largest of three sizes that fits beside the face, or None."""
    x0, y0, x1, y1 = face.box_xyxy
    gap = 2 * style.line
    for share in CHART_SIZES:
        text = max(MIN_TEXT, int(style.text * share))
        width, height = text * 9.5, len(face.emotions.labels) * text * 1.05 + 2 * style.pad
        if height > size[1] * MAX_CHART_SHARE:
            continue
        above, below = y0 - gap - height - style.text * 2, y1 + gap
        for x in (x1 + gap, x0 - gap - width):
            for y in (y0, y1 - height):
                if place := _free((x, min(max(0, y), size[1] - height)), width, height, size, taken):
                    return place, text
        for y in (below, below + style.text * 2, above):
            for x in (x0, x1 - width):
                if place := _free((min(max(0, x), size[0] - width), y), width, height, size, taken):
                    return place, text
    return None


def _free(at: tuple[float, float], width: float, height: float, size: tuple[int, int], taken: list[Box]) -> Box | None:
    place = (at[0], at[1], at[0] + width, at[1] + height)
    inside = place[0] >= 0 and place[1] >= 0 and place[2] <= size[0] and place[3] <= size[1]
    return place if inside and not any(_overlap(place, other) for other in taken) else None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _chart(draw: ImageDraw.ImageDraw, face: Face, place: Box, text: int, style: _Style) -> None:
    emotions = face.smoothed or face.emotions
    font = _font(max(MIN_TEXT, int(text * 0.78)))
    draw.rectangle(place, fill=PANEL)
    _leader(draw, face, place, style)
    row = (place[3] - place[1] - 2 * style.pad) / len(emotions.labels)
    middle = place[0] + (place[2] - place[0]) * 0.47
    room = place[2] - style.pad - middle
    for i, (label, probability) in enumerate(emotions.to_dict().items()):
        y = place[1] + style.pad + row * i
        fill = WHITE if label == emotions.top else (205, 205, 205)
        draw.text((middle - style.pad, y + row / 2), label, font=font, fill=fill, anchor="rm")
        draw.rectangle((middle, y + row * 0.2, middle + room, y + row * 0.8), fill=(255, 255, 255, 28))
        draw.rectangle(
            (middle, y + row * 0.2, middle + max(1.0, room * probability), y + row * 0.8), fill=colour_of(label, emotions.labels)
        )


def _leader(draw: ImageDraw.ImageDraw, face: Face, place: Box, style: _Style) -> None:
    """Draw the edge of the chart on the side of the face's box, and a short line to the box, to connect chart and face."""
    x0, y0, x1, y1 = face.box_xyxy
    colour = _face_colour(face)
    if place[0] >= x1 or place[2] <= x0:
        edge, side = (place[0], x1) if place[0] >= x1 else (place[2], x0)
        y = (max(y0, place[1]) + min(y1, place[3])) / 2
        draw.line((edge, place[1], edge, place[3]), fill=colour, width=style.line)
        draw.line((side, y, edge, y), fill=colour, width=style.line)
    else:
        below = place[1] >= y1
        edge = place[1] if below else place[3]
        draw.line((place[0], edge, place[2], edge), fill=colour, width=style.line)
        if below:  # above the face, the label is between box and chart and connects them
            x = (max(x0, place[0]) + min(x1, place[2])) / 2
            draw.line((x, y1, x, edge), fill=colour, width=style.line)
