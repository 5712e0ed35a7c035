"""The schemas of requests and answers, for /docs and /openapi.json. The records themselves are defined in :mod:`mien.results`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

HAPPY = {"angry": 0.002, "disgust": 0.0, "fear": 0.003, "happy": 0.981, "neutral": 0.009, "sad": 0.002, "surprise": 0.003}
FACE: dict[str, Any] = {
    "box_xyxy": [174.0, 62.5, 262.0, 178.0],
    "score": 0.99,
    "landmarks": [[196.5, 106.5], [237.5, 107.0], [216.0, 129.5], [201.5, 149.0], [233.5, 149.5]],
    "emotions": HAPPY,
    "top": "happy",
    "confidence": 0.981,
    "uncertain": False,
    "track_id": None,
    "smoothed": None,
}
FRAME: dict[str, Any] = {
    "schema": "mien/1",
    "source": "portrait.jpg",
    "frame_index": None,
    "time_s": None,
    "width": 512,
    "height": 512,
    "faces": [FACE],
    "model": {"name": "default", "version": "1"},
    "notes": [],
}
ERROR_RECORD: dict[str, Any] = {
    "schema": "mien/1",
    "source": "notes.txt",
    "frame_index": None,
    "time_s": None,
    "error": {"code": "unsupported_media", "message": "expected one of JPEG, PNG, ..., got the data, which starts with 'Dear diary,'"},
}


class Explanation(BaseModel):
    """Which parts of the face support the label (warm colours) and which speak against it (cold colours)."""

    label: str
    png: str = Field(description="The picture, base64.", json_schema_extra={"contentEncoding": "base64", "contentMediaType": "image/png"})
    box_xyxy: list[float] = Field(description="The place of the picture in the photo, in pixels.", min_length=4, max_length=4)
    parts: dict[str, float] = Field(description="Shares of the support: eyes, nose, mouth, rest.")
    strongest: float = Field(description="Largest change of the label's probability when a part is covered, as a share of it.")


class Face(BaseModel):
    """One face; see mien.results.Face."""

    box_xyxy: list[float] = Field(min_length=4, max_length=4, description="Left, top, right, bottom in pixels of the picture.")
    score: float = Field(description="The score of the detector, from 0 to 1.")
    landmarks: list[list[float]] = Field(description="Eyes, nose, mouth corners, left to right as seen in the picture; pixels.")
    emotions: dict[str, float] = Field(description="Calibrated probabilities that sum to 1.")
    top: str
    confidence: float
    uncertain: bool = Field(description="True if the confidence is below the threshold of the model, or the score below 0.7.")
    track_id: int | None = Field(description="Id of the person, in videos and streams.")
    smoothed: dict[str, float] | None = Field(description="Smoothed probabilities, in videos and streams.")
    explanation: Explanation | None = Field(None, description="Only with explain=true.")


class ModelName(BaseModel):
    """The model that answered."""

    name: str
    version: str


class Frame(BaseModel):
    """All faces of one picture, largest first; see mien.results.FrameResult."""

    model_config = ConfigDict(json_schema_extra={"examples": [FRAME]})

    schema_: str = Field(alias="schema")
    source: str
    frame_index: int | None
    time_s: float | None
    width: int
    height: int
    faces: list[Face]
    model: ModelName
    notes: list[str]


class Complaint(BaseModel):
    """A stable code and a sentence for people."""

    code: str
    message: str


class ErrorRecord(BaseModel):
    """The record of one input that cannot be read; the other inputs of the request have their own records."""

    model_config = ConfigDict(json_schema_extra={"examples": [ERROR_RECORD]})

    schema_: str = Field(alias="schema")
    source: str
    frame_index: int | None
    time_s: float | None
    error: Complaint


class Results(BaseModel):
    """One record per file, in the order of the files."""

    results: list[Frame | ErrorRecord]


class ErrorDetail(Complaint):
    """What went wrong, and the id of the request in the log."""

    id: str


class ErrorAnswer(BaseModel):
    """The body of every answer with status 4xx or 5xx."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"error": {"code": "too_large", "message": "expected at most 20,000,000 bytes, got more", "id": "0f3a"}}]
        }
    )

    error: ErrorDetail


class Model(BaseModel):
    """A model that answers here."""

    name: str
    version: str
    labels: list[str]
    chip_size: int = Field(description="Side of the aligned face that the model takes, in pixels.")
    channels: int
    uncertain_below: float = Field(description="A face with a lower confidence is marked uncertain.")
    sha256: str
    links: dict[str, str]


class Models(BaseModel):
    """All models that answer here."""

    models: list[Model]


class Job(BaseModel):
    """The state of a video."""

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float = Field(ge=0, le=1)
    frames: int = Field(description="Frames analysed so far.")
    frames_per_second: float | None
    error: Complaint | None
    links: dict[str, str]


class State(BaseModel):
    """The state of the service."""

    status: str


FILE = {"type": "string", "format": "binary"}
FORM_OF_MANY: dict[str, Any] = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "array", "items": FILE, "minItems": 1}},
        "required": ["file"],
        "additionalProperties": False,
    }
}
FORM_OF_ONE: dict[str, Any] = {
    "schema": {"type": "object", "properties": {"file": FILE}, "required": ["file"], "additionalProperties": False}
}
ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorAnswer, "description": "The request was refused; the code says why."}}
BUSY: dict[int | str, dict[str, Any]] = {
    503: {
        "model": ErrorAnswer,
        "description": "The service is full or stopping; try again later.",
        "headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
    }
}
