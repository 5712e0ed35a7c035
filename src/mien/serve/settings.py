"""All settings of the service. They come from ``MIEN_...`` variables of the environment or from the flags of ``mien serve``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from mien.detect.find import check_min_face
from mien.serve.setting_texts import SETTINGS

PREFIX = "MIEN_"
ALIKE = 0.85  # similarity of two names, from 0 to 1: they differ in one or two letters
CommaSeparated = Annotated[tuple[str, ...], NoDecode]  # in the environment: one text with commas between the words
Positive = Annotated[FiniteFloat, Field(gt=0)]


def _setting(name: str, **limits: Any) -> Any:
    return Field(SETTINGS[name].default, description=SETTINGS[name].description, **limits)


class Settings(BaseSettings):
    """The permissions and limits of the service.

    >>> Settings(max_faces=5).max_faces
    5
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = _setting("host")
    port: int = _setting("port", ge=0, le=65535)
    model: str = _setting("model")
    detector: str = _setting("detector")
    min_face: Literal["auto"] | float = _setting("min_face")

    workers: PositiveInt | None = _setting("workers")
    model_threads: PositiveInt | None = _setting("model_threads")
    batch_wait_ms: FiniteFloat = _setting("batch_wait_ms", ge=0, le=1000)
    max_batch: PositiveInt = _setting("max_batch")

    max_in_flight: PositiveInt = _setting("max_in_flight")
    max_connections: PositiveInt = _setting("max_connections")
    max_bytes: PositiveInt = _setting("max_bytes")
    max_body_bytes: PositiveInt = _setting("max_body_bytes")
    max_files: PositiveInt = _setting("max_files")
    max_pixels: PositiveInt = _setting("max_pixels")
    max_faces: PositiveInt = _setting("max_faces")
    max_explained: PositiveInt = _setting("max_explained")
    body_timeout_s: Positive = _setting("body_timeout_s")
    stop_timeout_s: Positive = _setting("stop_timeout_s")

    max_streams: PositiveInt = _setting("max_streams")
    max_frame_bytes: PositiveInt = _setting("max_frame_bytes")
    stream_idle_s: Positive = _setting("stream_idle_s")

    max_video_bytes: PositiveInt = _setting("max_video_bytes")
    max_video_s: Positive = _setting("max_video_s")
    video_body_timeout_s: Positive = _setting("video_body_timeout_s")
    video_workers: PositiveInt = _setting("video_workers")
    max_jobs: PositiveInt = _setting("max_jobs")
    max_kept_jobs: PositiveInt = _setting("max_kept_jobs")
    job_ttl_s: Positive = _setting("job_ttl_s")
    jobs_dir: Path | None = _setting("jobs_dir")

    api_keys: CommaSeparated = _setting("api_keys")
    cors_origins: CommaSeparated = _setting("cors_origins")
    allowed_hosts: CommaSeparated = _setting("allowed_hosts")
    allow_url: bool = _setting("allow_url")
    url_timeout_s: Positive = _setting("url_timeout_s")

    @model_validator(mode="before")
    @classmethod
    def _nearly_named(cls, values: object) -> object:
        """Refuse a variable whose name is nearly that of a setting. It would be ignored, and an ignored key leaves the service open."""
        if mistakes := misnamed(os.environ):
            told = "; ".join(f"expected the variable {meant}, got {name}" for name, meant in mistakes.items())
            raise ValueError(f"{told}; rename it or unset it")
        return values

    @field_validator("min_face", mode="before")
    @classmethod
    def _smallest(cls, value: object) -> object:
        return "auto" if value == "auto" else check_min_face(value)

    @field_validator("api_keys", "cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _hashed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[0-9a-fA-F]{64}", word) for word in value):
            raise ValueError("expected the SHA-256 of each key in 64 hexadecimal digits, never the key itself; see mien serve --new-key")
        return tuple(word.lower() for word in value)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)


def misnamed(names: Iterable[str]) -> dict[str, str]:
    """Return the variables that look like a misspelt setting, each with the name that was probably meant.

    >>> misnamed(["MIEN_API_KEY", "MIEN_MAX_FACES", "MIEN_SERVICE_HOST", "API_KEY"])
    {'MIEN_API_KEY': 'MIEN_API_KEYS'}
    """
    found = {}
    for name in names:
        said = name.upper()  # as pydantic-settings reads them
        if said.startswith(PREFIX) and (word := said.removeprefix(PREFIX).lower()) not in SETTINGS:
            for meant in get_close_matches(word, SETTINGS, n=1, cutoff=ALIKE):
                found[name] = f"{PREFIX}{meant.upper()}"
    return found


def is_loopback(host: str) -> bool:
    """Return whether a name or an address means this machine itself (loopback).

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
