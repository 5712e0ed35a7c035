"""The results of Mien: frozen records of plain Python numbers, the same in Python, JSON Lines, CSV, Parquet and REST.

:data:`SCHEMA` names the version. It changes when a field changes its meaning or is removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA = "mien/1"
POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
CUT_NOTE = "cut: another picture begins here, and all track ids are new"  # in the notes of the first frame after a cut
Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Emotions:
    """Probabilities of the labels, in the order of the model: floats in [0, 1] that sum to 1.

    >>> e = Emotions(("happy", "sad"), (0.75, 0.25))
    >>> e["happy"], e.top, e.confidence
    (0.75, 'happy', 0.75)
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.probabilities) or not self.labels:
            raise ValueError(f"expected one probability a label, got {len(self.labels)} labels and {len(self.probabilities)} probabilities")

    def __getitem__(self, label: str) -> float:
        try:
            return self.probabilities[self.labels.index(label)]
        except ValueError:
            raise KeyError(f"no label {label!r}; this model's labels are {', '.join(self.labels)}") from None

    @property
    def top(self) -> str:
        """The most probable label; the first one if several are equal."""
        return self.labels[self.probabilities.index(self.confidence)]

    @property
    def confidence(self) -> float:
        """The probability of :attr:`top`."""
        return max(self.probabilities)

    def ranked(self) -> tuple[tuple[str, float], ...]:
        """Return (label, probability) pairs, most probable first."""
        return tuple(sorted(zip(self.labels, self.probabilities, strict=True), key=lambda pair: -pair[1]))

    def to_dict(self) -> dict[str, float]:
        """Return label -> probability in the model's order."""
        return dict(zip(self.labels, self.probabilities, strict=True))

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> Emotions:
        """Return the record from the values of :meth:`to_dict`."""
        return cls(tuple(values), tuple(float(p) for p in values.values()))


@dataclass(frozen=True)
class Face:
    """One face of a frame.

    ``box_xyxy`` and ``landmarks`` (left eye, right eye, nose, left and right mouth corner as seen when the face is upright) are in pixels
    of the original frame. ``score`` is the score of the detector, in [0, 1]. ``uncertain`` is True if the calibrated confidence is below
    the model's threshold, or the score is below :data:`mien.detect.base.SURE_FACE`. Outside a stream, ``track_id`` and ``smoothed`` are
    None.
    """

    box_xyxy: Box
    score: float
    landmarks: tuple[Point, ...]
    emotions: Emotions
    uncertain: bool
    track_id: int | None = None
    smoothed: Emotions | None = None

    @property
    def top(self) -> str:
        """The most probable label."""
        return self.emotions.top

    @property
    def confidence(self) -> float:
        """The probability of :attr:`top`."""
        return self.emotions.confidence

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "box_xyxy": list(self.box_xyxy),
            "score": self.score,
            "landmarks": [list(point) for point in self.landmarks],
            "emotions": self.emotions.to_dict(),
            "top": self.top,
            "confidence": self.confidence,
            "uncertain": self.uncertain,
            "track_id": self.track_id,
            "smoothed": self.smoothed.to_dict() if self.smoothed else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Face:
        """Return the record from the values of :meth:`to_dict`."""
        x0, y0, x1, y1 = (float(v) for v in values["box_xyxy"])
        return cls(
            box_xyxy=(x0, y0, x1, y1),
            score=float(values["score"]),
            landmarks=tuple((float(x), float(y)) for x, y in values["landmarks"]),
            emotions=Emotions.from_dict(values["emotions"]),
            uncertain=bool(values["uncertain"]),
            track_id=values.get("track_id"),
            smoothed=Emotions.from_dict(values["smoothed"]) if values.get("smoothed") else None,
        )


@dataclass(frozen=True)
class ModelRef:
    """The model that gave a result."""

    name: str
    version: str


@dataclass(frozen=True)
class FrameResult:
    """All faces of one picture or video frame, largest first; an empty tuple if there are none.

    ``width`` and ``height`` are those of the frame, in pixels, after the EXIF rotation. ``frame_index`` and ``time_s`` are None for photos.
    ``notes`` are sentences about the reading of the file, such as "first of 12 frames"; the first
    frame after a cut of a video has :data:`CUT_NOTE`.
    """

    source: str
    width: int
    height: int
    faces: tuple[Face, ...]
    model: ModelRef
    frame_index: int | None = None
    time_s: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def after_cut(self) -> bool:
        """Whether this is the first frame after a cut: no ``track_id`` of it was given before."""
        return CUT_NOTE in self.notes

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "frame_index": self.frame_index,
            "time_s": self.time_s,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.faces],
            "model": {"name": self.model.name, "version": self.model.version},
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FrameResult:
        """Return the record from the values of :meth:`to_dict`.

        Raises:
            ValueError: the record has another schema version.
        """
        _check_schema(values)
        return cls(
            source=values["source"],
            width=int(values["width"]),
            height=int(values["height"]),
            faces=tuple(Face.from_dict(face) for face in values["faces"]),
            model=ModelRef(values["model"]["name"], values["model"]["version"]),
            frame_index=values.get("frame_index"),
            time_s=values.get("time_s"),
            notes=tuple(values.get("notes", ())),
        )


@dataclass(frozen=True)
class ErrorResult:
    """An input that could not be analysed. ``code`` is a stable word (see :mod:`mien.errors`), ``message`` is a text for people."""

    source: str
    code: str
    message: str
    frame_index: int | None = None
    time_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "frame_index": self.frame_index,
            "time_s": self.time_s,
            "error": {"code": self.code, "message": self.message},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ErrorResult:
        """Return the record from the values of :meth:`to_dict`."""
        _check_schema(values)
        error = values["error"]
        return cls(values["source"], error["code"], error["message"], values.get("frame_index"), values.get("time_s"))


Record = FrameResult | ErrorResult


def record_from_dict(values: Mapping[str, Any]) -> Record:
    """Return the result or error record from ``values``."""
    return ErrorResult.from_dict(values) if "error" in values else FrameResult.from_dict(values)


def _check_schema(values: Mapping[str, Any]) -> None:
    if values.get("schema") != SCHEMA:
        raise ValueError(f"expected a record of schema {SCHEMA!r}, got {values.get('schema')!r}")


def csv_columns(labels: Sequence[str]) -> list[str]:
    """Return the columns of the flat form (CSV, Parquet), in order."""
    head = ["schema", "source", "frame_index", "time_s", "width", "height", "face_count", "face_index", "x0", "y0", "x1", "y1", "score"]
    points = [f"{name}_{axis}" for name in POINTS for axis in "xy"]
    tail = ["top", "confidence", "uncertain", "track_id"]
    smoothed = [f"smoothed_{label}" for label in labels]
    return [*head, *points, *labels, *tail, *smoothed, "model_name", "model_version", "notes", "error_code", "error_message"]


def colliding(labels: Sequence[str]) -> str | None:
    """Return a label with the same name as another column of the flat form, or None.

    >>> colliding(("happy", "sad")), colliding(("happy", "score"))
    (None, 'score')
    """
    columns = csv_columns(labels)
    return next((label for label in labels if columns.count(label) > 1), None)
