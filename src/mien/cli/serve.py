"""``mien serve``: the page, the REST service and the live socket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.console import say
from mien.errors import MissingExtraError, UsageError
from mien.serve.setting_texts import SETTINGS

if TYPE_CHECKING:
    from mien.serve.settings import Settings


def serve(
    host: Annotated[str | None, typer.Option(help=SETTINGS["host"].help)] = None,
    port: Annotated[int | None, typer.Option(help=SETTINGS["port"].help)] = None,
    model: Annotated[str | None, typer.Option(help=SETTINGS["model"].help)] = None,
    detector: Annotated[str | None, typer.Option(help=SETTINGS["detector"].help)] = None,
    min_face: Annotated[str | None, typer.Option(help=SETTINGS["min_face"].help)] = None,
    workers: Annotated[int | None, typer.Option(help=SETTINGS["workers"].help)] = None,
    model_threads: Annotated[int | None, typer.Option(help=SETTINGS["model_threads"].help)] = None,
    batch_wait_ms: Annotated[float | None, typer.Option(help=SETTINGS["batch_wait_ms"].help)] = None,
    max_batch: Annotated[int | None, typer.Option(help=SETTINGS["max_batch"].help)] = None,
    max_in_flight: Annotated[int | None, typer.Option(help=SETTINGS["max_in_flight"].help)] = None,
    max_connections: Annotated[int | None, typer.Option(help=SETTINGS["max_connections"].help)] = None,
    max_bytes: Annotated[int | None, typer.Option(help=SETTINGS["max_bytes"].help)] = None,
    max_body_bytes: Annotated[int | None, typer.Option(help=SETTINGS["max_body_bytes"].help)] = None,
    max_files: Annotated[int | None, typer.Option(help=SETTINGS["max_files"].help)] = None,
    max_pixels: Annotated[int | None, typer.Option(help=SETTINGS["max_pixels"].help)] = None,
    max_faces: Annotated[int | None, typer.Option(help=SETTINGS["max_faces"].help)] = None,
    max_explained: Annotated[int | None, typer.Option(help=SETTINGS["max_explained"].help)] = None,
    body_timeout_s: Annotated[float | None, typer.Option(help=SETTINGS["body_timeout_s"].help)] = None,
    stop_timeout_s: Annotated[float | None, typer.Option(help=SETTINGS["stop_timeout_s"].help)] = None,
    max_streams: Annotated[int | None, typer.Option(help=SETTINGS["max_streams"].help)] = None,
    max_frame_bytes: Annotated[int | None, typer.Option(help=SETTINGS["max_frame_bytes"].help)] = None,
    stream_idle_s: Annotated[float | None, typer.Option(help=SETTINGS["stream_idle_s"].help)] = None,
    max_video_bytes: Annotated[int | None, typer.Option(help=SETTINGS["max_video_bytes"].help)] = None,
    max_video_s: Annotated[float | None, typer.Option(help=SETTINGS["max_video_s"].help)] = None,
    video_body_timeout_s: Annotated[float | None, typer.Option(help=SETTINGS["video_body_timeout_s"].help)] = None,
    video_workers: Annotated[int | None, typer.Option(help=SETTINGS["video_workers"].help)] = None,
    max_jobs: Annotated[int | None, typer.Option(help=SETTINGS["max_jobs"].help)] = None,
    max_kept_jobs: Annotated[int | None, typer.Option(help=SETTINGS["max_kept_jobs"].help)] = None,
    job_ttl_s: Annotated[float | None, typer.Option(help=SETTINGS["job_ttl_s"].help)] = None,
    jobs_dir: Annotated[Path | None, typer.Option(help=SETTINGS["jobs_dir"].help)] = None,
    api_keys: Annotated[list[str] | None, typer.Option("--api-key", help=SETTINGS["api_keys"].help)] = None,
    cors_origins: Annotated[list[str] | None, typer.Option("--cors-origin", help=SETTINGS["cors_origins"].help)] = None,
    allowed_hosts: Annotated[list[str] | None, typer.Option("--allowed-host", help=SETTINGS["allowed_hosts"].help)] = None,
    allow_url: Annotated[bool | None, typer.Option("--allow-url", help=SETTINGS["allow_url"].help)] = None,
    url_timeout_s: Annotated[float | None, typer.Option(help=SETTINGS["url_timeout_s"].help)] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Print a new API key and its SHA-256 for --api-key, and stop.")] = False,
) -> None:
    """Serve the web page, the REST interface and the live socket, and print the address.

    Each option except --new-key also has an environment variable: --max-faces 20 is MIEN_MAX_FACES=20.
    Three options can be repeated. Their variables take commas between values: MIEN_API_KEYS, MIEN_CORS_ORIGINS, MIEN_ALLOWED_HOSTS.
    """
    given = {name: value for name, value in locals().items() if name in SETTINGS and value is not None}
    if new_key:
        print_new_key()
        return
    run(settings_from(given))


def print_new_key() -> None:
    """Print a new key and its SHA-256. The service needs only the SHA-256."""
    from mien.serve.guard.keys import hash_of, new_key

    key = new_key()
    typer.echo(f"key     {key}")
    typer.echo(f"sha256  {hash_of(key)}")
    say("give the key to the caller, and start the service with --api-key SHA256 (or MIEN_API_KEYS); the key itself is stored nowhere")


def settings_from(given: dict[str, Any]) -> Settings:
    """Return the settings from ``given`` and, for the others, from the environment.

    Raises:
        MissingExtraError: the extra is not installed.
        UsageError: a setting is out of range, or the name of an environment variable is almost the name of a setting.
    """
    try:
        from pydantic import ValidationError

        from mien.serve.settings import Settings
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fastapi", "serve") from None
    try:
        return Settings(**given)
    except ValidationError as error:
        raise UsageError("; ".join(_told(item) for item in error.errors())) from None


def _told(item: Any) -> str:
    """Return one pydantic error about a setting, with the given value. API keys are left out, because they may be secret."""
    message = str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:  # an error about the name of a variable
        return message
    name = item["loc"][0]
    got = "" if name == "api_keys" else f", got {item['input']!r}"
    return f"{name}: {message}{got}"


def run(settings: Settings, on_start: Callable[[str], None] | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        settings: the settings of the service.
        on_start: called with the address once it can be opened.

    Raises:
        MissingExtraError: the extra is not installed.
        UsageError: the address is taken.
    """
    try:
        from mien.serve.app import create_app
        from mien.serve.server import Server, address_of, listen, set_up_log
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fastapi", "serve") from None
    set_up_log()
    with listen(settings) as listener:
        address = address_of(listener)

        def tell() -> None:
            say(f"Mien is at {address} (Ctrl-C stops it)")
            if not settings.is_local:
                say("others can reach it: see docs/service.md about keys, names and a proxy with TLS")
            if on_start:
                on_start(address)

        app = create_app(settings)
        try:
            Server(app, settings, on_start=tell).run([listener])
        except SystemExit:  # the service did not start
            if failure := getattr(app.state, "failure", None):
                raise failure from None
            raise
