"""The settings of a job: all workers share them, and they distinguish one job from another."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mien.batch.plan import SHARD
from mien.bundles import DEFAULT, open_bundle
from mien.detect import find_detector
from mien.detect.find import AUTO, Auto, MinFace, check_min_face
from mien.errors import MissingExtraError, UsageError
from mien.face_tracker import DETECT_EVERY
from mien.media.images import ReadLimits
from mien.media.video import check_every
from mien.results import SCHEMA

Format = Literal["parquet", "jsonl"]
FORMATS: tuple[Format, ...] = ("parquet", "jsonl")


@dataclass(frozen=True)
class Settings:
    """All settings that the records depend on. ``every_s`` is the time between analysed frames of a video; None means every frame."""

    model: str = DEFAULT
    detector: str = "auto"
    min_face: MinFace = AUTO
    every_s: float | None = None
    detect_every: int = DETECT_EVERY
    format: Format = "parquet"
    shard: int = SHARD
    providers: tuple[str, ...] = ()
    max_bytes: int = ReadLimits.max_bytes
    max_pixels: int = ReadLimits.max_pixels
    timeout_s: float = ReadLimits.timeout_s

    @property
    def limits(self) -> ReadLimits:
        """The limits for one photo."""
        return ReadLimits(self.max_bytes, self.max_pixels, self.timeout_s)

    def checked(self) -> Settings:
        """Return the same settings, with paths that are valid for every worker.

        Raises:
            UsageError: a value is out of range.
            MissingExtraError: the format is Parquet and pyarrow is not installed.
            BundleError, DetectorError: the model or the detector is missing.
        """
        if self.format not in FORMATS:
            raise UsageError(f"unknown format {self.format!r}; expected one of {', '.join(FORMATS)}")
        if self.format == "parquet" and importlib.util.find_spec("pyarrow") is None:
            raise MissingExtraError("pyarrow", "batch")
        if self.shard < 1:
            raise UsageError(f"expected shards of 1 photo or more, got {self.shard}")
        smallest = check_min_face(self.min_face)
        if self.detect_every < 1:
            raise UsageError(f"detect_every must be 1 frame or more, got {self.detect_every}")
        check_every(self.every_s)
        _ = self.limits  # raises if a limit is zero or negative
        model = os.path.abspath(self.model) if Path(self.model).is_dir() else self.model  # noqa: PTH100  (no links resolved)
        find_detector(self.detector, threads=1)
        name = os.path.abspath(self.detector) if self.detector.endswith(".onnx") else self.detector  # noqa: PTH100
        return Settings(**{**vars(self), "model": model, "detector": name, "min_face": AUTO if isinstance(smallest, Auto) else smallest})

    def identity(self) -> dict[str, Any]:
        """Return the values that must be equal for two runs of one job, as plain values for JSON."""
        bundle = open_bundle(self.model)
        return {
            "schema": SCHEMA,
            **{key: value for key, value in self.to_dict().items() if key not in ("model", "timeout_s", "providers")},
            "model": f"{bundle.spec.name} {bundle.spec.version}",
            "model_sha256": bundle.spec.model_sha256,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "providers": list(self.providers)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """Return the settings from the values of :meth:`to_dict`."""
        return cls(**{**values, "providers": tuple(values["providers"])})
