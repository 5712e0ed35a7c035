"""``mien report``: a batch job as an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import check_ending, check_free, counted, say


def report(
    job: Annotated[Path, typer.Argument(help="Folder of a job: the --output of mien batch.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="An .html file. Default: report.html in the job's folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file given with --output.")] = False,
) -> None:
    """Summarise a batch job on one page: counts, emotions, confidence, errors per code, slowest inputs."""
    from mien.batch.files import write_whole
    from mien.batch.report import report_html, summarise

    if output:
        check_ending(output, (".html", ".htm"))
        check_free(output, overwrite)
    summary = summarise(job)
    page = report_html(summary)
    file = output or job / "report.html"
    write_whole(file, page.encode("utf-8", "backslashreplace"))
    tally = summary.tally
    errors = ", ".join(f"{count:,} {code}" for code, count in sorted(tally.errors.items(), key=lambda pair: -pair[1])) or "no errors"
    inputs, faces = counted(summary.planned.inputs, "input"), counted(tally.faces, "face")
    say(f"{tally.inputs:,} of {inputs}, {faces}, {tally.uncertain:,} uncertain; {errors}")
    say(f"report: {file.resolve()}")
