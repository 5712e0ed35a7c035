"""The command ``mien``: a thin layer with one file per verb. Data goes to stdout; messages and progress go to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import typer

from mien.cli import data, web
from mien.cli.analyze import analyze
from mien.cli.audit import audit
from mien.cli.batch import batch
from mien.cli.calibrate import calibrate
from mien.cli.compare import compare
from mien.cli.console import fail, stay_readable
from mien.cli.demo import demo
from mien.cli.ensemble import ensemble, soft_labels
from mien.cli.evaluate import evaluate
from mien.cli.explain import explain
from mien.cli.export import export
from mien.cli.report import report
from mien.cli.serve import serve
from mien.cli.train import train
from mien.cli.verb import Verb
from mien.cli.video import video
from mien.cli.webcam import webcam
from mien.errors import MienError, UsageError
from mien.version import __version__

app = typer.Typer(
    help="Facial emotion recognition: photos in, seven calibrated probabilities per face out. Mien reports expressions as annotators "
    "label them, never what a person feels. Do not use it for decisions about people.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
VERBS: dict[str, Callable[..., None]] = {
    "analyze": analyze,
    "video": video,
    "webcam": webcam,
    "serve": serve,
    "batch": batch,
    "report": report,
    "explain": explain,
    "demo": demo,
    "train": train,
    "soft-labels": soft_labels,
    "ensemble": ensemble,
    "export": export,
    "evaluate": evaluate,
    "compare": compare,
    "calibrate": calibrate,
    "audit": audit,
}
for _name, _verb in VERBS.items():
    app.command(_name, cls=Verb)(_verb)
app.add_typer(data.app, name="data")
app.add_typer(web.app, name="web")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mien {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. The exit status is 0 after success, 1 after a failure and 2 after wrong usage."""
    stay_readable()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # flush here, where an error is still reported
    except MienError as error:
        fail(str(error), status=2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the pipe has closed it, so no message is written
        sys.exit(1)
    except OSError as error:
        _drop_output()
        fail(f"{error.filename or 'the output'}: {error.strerror or error}; the work is not complete")


def _drop_output() -> None:
    """Discard what could not be written to stdout. Otherwise Python tries to write it again at exit, and fails again."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
