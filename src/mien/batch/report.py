"""A job as one self-contained HTML file: counts, emotions, confidence, errors and the slowest inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mien.batch.folder import Entry, JobFolder
from mien.batch.plan import Planned
from mien.batch.tally import BINS, MAY_PASS, Tally, total
from mien.draw import colour_of
from mien.errors import JobError, MissingExtraError
from mien.version import __version__
from mien.wording import printable

TEMPLATES = Path(__file__).parent / "templates"
EXAMPLES = 20  # error records shown in full


@dataclass(frozen=True)
class Example:
    """One error record."""

    source: str
    code: str
    message: str


@dataclass(frozen=True)
class Summary:
    """The results of a job so far. ``examples`` are some of its error records."""

    planned: Planned
    tally: Tally
    settings: dict[str, Any]
    sources: tuple[str, ...]
    examples: tuple[Example, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every input has its records."""
        return self.tally.inputs == self.planned.inputs


def summarise(path: Path) -> Summary:
    """Return the summary of the job in a folder. For a running or stopped job, it covers the finished shards.

    Raises:
        JobError: there is no job in the folder.
    """
    folder = JobFolder(path)
    if (identity := folder.identity()) is None:
        raise JobError(f"expected the folder of a job, got {path}, which holds none; name the --output of mien batch")
    entries = [entry for _, entry in sorted(folder.entries().items())]
    examples = tuple(islice(_examples(folder, entries), EXAMPLES))
    return Summary(identity.planned, total(entry.tally for entry in entries), identity.settings, identity.sources, examples)


def report_html(summary: Summary) -> str:
    """Return the report as an HTML page.

    Raises:
        MissingExtraError: Jinja is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError:
        raise MissingExtraError("jinja2", "batch") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"thousands": "{:,}".format, "percent": "{:.1%}".format, "printable": printable}
    tally = summary.tally
    tallest = max(1, *tally.confidence)
    return environment.get_template("job.html.j2").render(
        summary=summary,
        tally=tally,
        errors=sorted(tally.errors.items(), key=lambda pair: -pair[1]),
        error_count=sum(tally.errors.values()),
        may_pass=MAY_PASS,
        emotions=[
            {
                "label": label,
                "faces": faces,
                "share": faces / tally.faces,
                "colour": "#{:02x}{:02x}{:02x}".format(*colour_of(label, tuple(sorted(tally.top)))),
            }
            for label, faces in sorted(tally.top.items(), key=lambda pair: -pair[1])
        ],
        bins=[{"low": i / BINS, "high": (i + 1) / BINS, "faces": n, "height": n / tallest} for i, n in enumerate(tally.confidence)],
        version=__version__,
    )


def _examples(folder: JobFolder, entries: list[Entry]) -> Iterator[Example]:
    for entry in entries:
        part = folder.records / str(entry.part)
        if entry.tally.errors and part.is_file():
            yield from _of_lines(part) if part.suffix == ".jsonl" else _of_parquet(part)


def _of_lines(part: Path) -> Iterator[Example]:
    with part.open("rb") as lines:
        for line in lines:
            if "error" in (record := json.loads(line)):
                yield Example(record["source"], record["error"]["code"], record["error"]["message"])


def _of_parquet(part: Path) -> Iterator[Example]:
    from pyarrow import parquet

    columns = ["source", "error_code", "error_message"]
    for row in parquet.read_table(part, columns=columns).to_pylist():
        if row["error_code"] is not None:
            yield Example(row["source"], row["error_code"], row["error_message"])
