"""Everything about the service that can be set: by ``MIEN_...`` in the environment, or by the flags of ``mien serve``."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from mien.bundles import DEFAULT
from mien.serve.words import SETTINGS

Words = Annotated[tuple[str, ...], NoDecode]  # in the environment: words with commas between them
MB = 1_000_000


class Settings(BaseSettings):
    """What the service may do and how much one caller may cost it.

    >>> Settings(max_faces=5).max_faces
    5
    """

    model_config = SettingsConfigDict(env_prefix="MIEN_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description=SETTINGS["host"])
    port: int = Field(8000, ge=0, le=65535, description=SETTINGS["port"])
    model: str = Field(DEFAULT, description=SETTINGS["model"])
    detector: str = Field("auto", description=SETTINGS["detector"])
    min_face: float = Field(20, ge=1, allow_inf_nan=False, description=SETTINGS["min_face"])

    workers: PositiveInt | None = Field(None, description=SETTINGS["workers"])
    model_threads: PositiveInt | None = Field(None, description=SETTINGS["model_threads"])
    batch_wait_ms: float = Field(3, ge=0, le=1000, description=SETTINGS["batch_wait_ms"])
    max_batch: PositiveInt = Field(32, description=SETTINGS["max_batch"])

    max_in_flight: PositiveInt = Field(64, description=SETTINGS["max_in_flight"])
    max_connections: PositiveInt = Field(1024, description=SETTINGS["max_connections"])
    max_bytes: PositiveInt = Field(20 * MB, description=SETTINGS["max_bytes"])
    max_body_bytes: PositiveInt = Field(100 * MB, description=SETTINGS["max_body_bytes"])
    max_files: PositiveInt = Field(32, description=SETTINGS["max_files"])
    max_pixels: PositiveInt = Field(40_000_000, description=SETTINGS["max_pixels"])
    max_faces: PositiveInt = Field(100, description=SETTINGS["max_faces"])
    max_explained: PositiveInt = Field(8, description=SETTINGS["max_explained"])
    body_timeout_s: PositiveFloat = Field(30, description=SETTINGS["body_timeout_s"])
    stop_timeout_s: PositiveFloat = Field(30, description=SETTINGS["stop_timeout_s"])

    max_streams: PositiveInt = Field(8, description=SETTINGS["max_streams"])
    max_frame_bytes: PositiveInt = Field(4 * MB, description=SETTINGS["max_frame_bytes"])
    stream_idle_s: PositiveFloat = Field(60, description=SETTINGS["stream_idle_s"])

    max_video_bytes: PositiveInt = Field(500 * MB, description=SETTINGS["max_video_bytes"])
    max_video_s: PositiveFloat = Field(1800, description=SETTINGS["max_video_s"])
    video_body_timeout_s: PositiveFloat = Field(600, description=SETTINGS["video_body_timeout_s"])
    video_workers: PositiveInt = Field(1, description=SETTINGS["video_workers"])
    max_jobs: PositiveInt = Field(8, description=SETTINGS["max_jobs"])
    max_kept_jobs: PositiveInt = Field(32, description=SETTINGS["max_kept_jobs"])
    job_ttl_s: PositiveFloat = Field(3600, description=SETTINGS["job_ttl_s"])
    jobs_dir: Path | None = Field(None, description=SETTINGS["jobs_dir"])

    api_keys: Words = Field((), description=SETTINGS["api_keys"])
    cors_origins: Words = Field((), description=SETTINGS["cors_origins"])
    allowed_hosts: Words = Field((), description=SETTINGS["allowed_hosts"])
    allow_url: bool = Field(False, description=SETTINGS["allow_url"])
    url_timeout_s: PositiveFloat = Field(10, description=SETTINGS["url_timeout_s"])

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


def is_loopback(host: str) -> bool:
    """Return whether a name or address is this machine's own.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
