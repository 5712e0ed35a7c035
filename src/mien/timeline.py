"""Sums up a video: who showed which expression, and when. Seconds per person, a picture with one lane per person, small graphs."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mien.arrays import Frame
from mien.draw import colour_of
from mien.errors import UsageError
from mien.geometry import Floats
from mien.results import FrameResult

WIDTH, LANE, GAP, LEFT, HEAD, FOOT, RIGHT = 1280, 72, 16, 150, 56, 44, 24  # of the picture, in pixels
MAX_LANES = 24
MIN_SEEN_S = 0.5  # who was seen for less does not count as a person: a look-alike of a face lasts a frame or two
PAPER, INK, FAINT, AWAY = (255, 255, 255), (30, 33, 38), (120, 125, 132), (236, 238, 240)
GRAPH_S = 4.0  # how far back a running graph reaches
GRAPH_SHARE, MIN_GRAPH_PX = 0.18, 14  # its height in box heights, and in pixels


@dataclass(frozen=True)
class Presence:
    """How long one person was visible. ``seconds_by_label`` counts by the most probable smoothed label, and sums to ``seconds``."""

    track_id: int
    first_s: float
    last_s: float
    seconds: float
    seconds_by_label: dict[str, float]


class Timeline:
    """The expressions of every tracked person over time; needs about 40 bytes per face and frame.

    A face counts from its frame until the next frame, whether it is detected there again or not.
    """

    def __init__(self, labels: Sequence[str], *, min_seen_s: float = MIN_SEEN_S) -> None:
        """Start without anybody.

        Args:
            labels: the model's, in its order.
            min_seen_s: who was seen for less, in seconds, is left out of :meth:`presences` and :meth:`picture`. It does not apply to a
                video that is shorter.

        Raises:
            UsageError: ``min_seen_s`` is negative or not a number.
        """
        if not min_seen_s >= 0:
            raise UsageError(f"expected the least time a person is seen to be 0 s or more, got {min_seen_s}; 0 counts everybody")
        self.min_seen_s = min_seen_s
        self._labels = tuple(labels)
        self._people: dict[int, _Person] = {}
        self._here: list[_Person] = []  # in the last frame
        self._time_s: float | None = None
        self._step_s = 0.0
        self.end_s = 0.0

    def add(self, result: FrameResult) -> None:
        """Add the next frame of a stream; faces without an id are ignored."""
        time_s = result.time_s or 0.0
        if self._time_s is not None:
            self._step_s = time_s - self._time_s
            for person in self._here:
                person.ends[-1] = time_s
        self._time_s = time_s
        self.end_s = time_s + self._step_s
        self._here = []
        for face in result.faces:
            if face.track_id is not None:
                person = self._people.setdefault(face.track_id, _Person())
                self._here.append(person)
                person.begins.append(time_s)
                person.ends.append(self.end_s)
                person.values.extend((face.smoothed or face.emotions).probabilities)

    def presences(self) -> list[Presence]:
        """Return one entry per person who was seen for :attr:`min_seen_s` or longer, in the order of their ids."""
        everybody = [self._presence(track_id, person) for track_id, person in sorted(self._people.items())]
        least_s = min(self.min_seen_s, self.end_s) - 1e-6  # times of frames are rounded
        return [presence for presence in everybody if presence.seconds >= least_s]

    @property
    def too_short(self) -> int:
        """How many ids were seen for less than :attr:`min_seen_s`, and do not count as people."""
        return len(self._people) - len(self.presences())

    def picture(self, title: str = "") -> Frame:
        """Return the timeline as a picture, uint8 RGB (H, 1280, 3): one lane per person, expressions stacked by probability, grey if away.

        With more than 24 people, those who were visible longest are shown. The picture says how many are left out, and why.
        """
        people = self.presences()
        shown = sorted(sorted(people, key=lambda presence: -presence.seconds)[:MAX_LANES], key=lambda p: (p.first_s, p.track_id))
        height = HEAD + max(1, len(shown)) * (LANE + GAP) + FOOT
        image = Image.new("RGB", (WIDTH, height), PAPER)
        draw = ImageDraw.Draw(image)
        draw.text((LEFT, 14), title, font=_font(16), fill=INK, anchor="lm")
        self._legend(draw)
        room = WIDTH - LEFT - RIGHT
        edges = np.linspace(0, max(self.end_s, 1e-3), room + 1)
        for number, presence in enumerate(shown):
            top = HEAD + number * (LANE + GAP)
            draw.text((LEFT - 14, top + LANE / 2 - 10), f"#{presence.track_id}", font=_font(18), fill=INK, anchor="rm")
            draw.text((LEFT - 14, top + LANE / 2 + 12), f"seen {presence.seconds:.1f} s", font=_font(12), fill=FAINT, anchor="rm")
            image.paste(Image.fromarray(self._stack(self._people[presence.track_id], edges, LANE, AWAY)), (LEFT, top))
        if not shown:
            draw.text((LEFT, HEAD + LANE / 2), "nobody was tracked", font=_font(16), fill=FAINT, anchor="lm")
        words = [f"{len(people) - len(shown)} more were seen for less time"] if len(people) > len(shown) else []
        if ghosts := len(self._people) - len(people):
            words.append(f"{ghosts} not counted: seen for less than {self.min_seen_s:g} s")
        draw.text((WIDTH - RIGHT, 14), "; ".join(words), font=_font(12), fill=FAINT, anchor="rm")
        self._axis(draw, height - FOOT, room)
        return np.asarray(image, np.uint8)

    def draw_graphs(self, frame_rgb: Frame, result: FrameResult) -> Frame:
        """Return a copy of the frame with a graph under each face: the expressions of its last seconds."""
        out = frame_rgb.copy()
        for face in result.faces:
            if face.track_id not in self._people:
                continue
            x0, _, x1, y1 = (round(v) for v in face.box_xyxy)
            height = max(MIN_GRAPH_PX, round(GRAPH_SHARE * (face.box_xyxy[3] - face.box_xyxy[1])))
            x0, x1 = max(x0, 0), min(x1, out.shape[1])
            top = max(0, min(y1 + 3, out.shape[0] - height))
            if x1 - x0 < MIN_GRAPH_PX or height > out.shape[0]:
                continue
            edges = np.linspace(self.end_s - GRAPH_S, self.end_s, x1 - x0 + 1)
            out[top : top + height, x0:x1] = self._stack(self._people[face.track_id], edges, height, INK)
        return out

    def _presence(self, track_id: int, person: _Person) -> Presence:
        begins, ends, values = person.arrays()
        seconds = np.bincount(values.argmax(1), weights=ends - begins, minlength=len(self._labels))
        by_label = {label: float(s) for label, s in zip(self._labels, seconds, strict=True)}
        return Presence(track_id, float(begins[0]), float(ends[-1]), float(seconds.sum()), by_label)

    def _stack(self, person: _Person, edges: Floats, height: int, background: tuple[int, int, int]) -> Frame:
        """Return (height, columns, 3): in every column, the mean probabilities between two edges as heights of the labels' colours."""
        probabilities, covered = person.columns(edges)
        colours = np.array([*(colour_of(label, self._labels) for label in self._labels), background], np.uint8)
        tops = np.cumsum(probabilities, 1)[:, :-1]  # (columns, labels - 1)
        level = (np.arange(height, 0, -1) - 0.5) / height  # from the top down
        which = (tops[None] < level[:, None, None]).sum(2)  # (height, columns)
        which[:, ~covered] = len(self._labels)
        return np.asarray(colours[which], np.uint8)

    def _legend(self, draw: ImageDraw.ImageDraw) -> None:
        x = float(LEFT)
        for label in self._labels:
            draw.rectangle((x, 32, x + 12, 44), fill=colour_of(label, self._labels))
            draw.text((x + 18, 38), label, font=_font(13), fill=INK, anchor="lm")
            x += 38 + draw.textlength(label, font=_font(13))
        draw.rectangle((x, 32, x + 12, 44), fill=AWAY)
        draw.text((x + 18, 38), "not seen", font=_font(13), fill=FAINT, anchor="lm")

    def _axis(self, draw: ImageDraw.ImageDraw, top: float, room: int) -> None:
        step = tick_step(self.end_s)
        for number in range(int(self.end_s / step + 1e-6) + 1):
            x = LEFT + room * number * step / max(self.end_s, 1e-3)
            draw.line((x, top - GAP + 4, x, top - GAP + 10), fill=FAINT)
            draw.text((x, top + 8), clock(number * step, step), font=_font(12), fill=FAINT, anchor="mm")


class _Person:
    """When one person was visible, and the probabilities at each time; arrays that grow in place."""

    def __init__(self) -> None:
        self.begins, self.ends, self.values = array("d"), array("d"), array("f")

    def arrays(self, last: int = 0) -> tuple[Floats, Floats, Floats]:
        """Return begins (N,), ends (N,) and probabilities (N, labels) of the ``last`` sightings, of all if 0."""
        labels = len(self.values) // len(self.begins)
        return (
            np.array(self.begins[-last:]),
            np.array(self.ends[-last:]),
            np.array(self.values[-last * labels :], np.float64).reshape(-1, labels),
        )

    def columns(self, edges: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the mean probabilities between every two edges (columns, labels), and whether the person was visible there (columns,).

        The visible time and probability x time are summed up once; the value between two edges is then a difference.
        """
        begins, ends, values = self.arrays(self._sightings_after(float(edges[0])))
        corners = np.column_stack([begins, ends]).ravel()
        spent = (ends - begins)[:, None] * np.column_stack([np.ones(len(begins)), values])  # (N, 1 + labels)
        total = np.zeros((len(corners), spent.shape[1]))
        total[1::2] = np.cumsum(spent, 0)
        total[2::2] = total[1:-1:2]
        between = np.column_stack([np.diff(np.interp(edges, corners, column)) for column in total.T])
        seconds = between[:, :1]
        shares = np.divide(between[:, 1:], seconds, out=np.zeros_like(between[:, 1:]), where=seconds > 0)
        return shares, seconds[:, 0] > 0

    def _sightings_after(self, time_s: float) -> int:
        count = 0
        for end in reversed(self.ends):
            count += 1
            if end < time_s:
                break
        return count


def tick_step(length_s: float) -> float:
    """Return a round step in seconds that divides ``length_s`` into at most ten.

    >>> tick_step(12), tick_step(95), tick_step(3600)
    (2.0, 10.0, 600.0)
    """
    for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0):
        if length_s <= 10 * step:
            return step
    return 3600.0 * math.ceil(length_s / 36_000)


def clock(time_s: float, step_s: float = 1.0) -> str:
    """Return a time as h:mm:ss or m:ss, with tenths if ``step_s`` is below one second.

    >>> clock(75), clock(3725), clock(0.5, 0.5)
    ('1:15', '1:02:05', '0:00.5')
    """
    minutes, seconds = divmod(time_s, 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{seconds:04.1f}" if step_s < 1 else f"{round(seconds):02d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
