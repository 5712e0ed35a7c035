"""Reading a job: its report, and its parts in the tools that people read Parquet with."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mien.batch.report import report_html, summarise
from mien.errors import JobError
from tests.batch.support import face, finished, folder_of_faces, run, start

DOCS = Path(__file__).parents[2] / "docs" / "batch.md"


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A finished job over eleven portraits and two files that are none; one has a name that could be markup."""
    place = tmp_path_factory.mktemp("job")
    folder_of_faces(place / "in", 10, broken=1)
    face(place / "in" / "odd & <b>\n.jpg")
    (place / "in" / "<script>.jpg").write_bytes(b"no photo")
    run(place / "job", place / "in", format="parquet")
    return place / "job"


class Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_the_page_says_what_the_job_came_to_and_escapes_names(job):
    summary = summarise(job)
    page = Text()
    page.feed(report_html(summary))
    text = " ".join(page.text.split())
    assert "13 of 13 inputs" in text
    assert "Complete" in text
    assert re.search(r"unsupported_media\s*2\s*does not help", text)
    assert re.search(r"happy\s*11\s*100.0%", text)
    assert r"odd & <b>\n.jpg" in text
    assert "script" not in page.tags
    assert "http" not in report_html(summary), "the page needs nothing from elsewhere"
    assert len(summary.examples) == 2


def test_the_command_writes_it_and_names_the_place(job, tmp_path):
    status, _, err = finished(start("report", job, "-o", tmp_path / "r.html", cwd=tmp_path))
    assert status == 0, err
    assert "13 of 13 inputs, 11 faces" in err
    assert "<title>Job of 13 inputs</title>" in (tmp_path / "r.html").read_text()
    status, _, err = finished(start("report", tmp_path, cwd=tmp_path))
    assert status == 1
    assert "holds none" in err


def test_a_folder_without_a_job_is_told(tmp_path):
    with pytest.raises(JobError, match="holds none"):
        summarise(tmp_path)


@pytest.mark.parametrize("tool", ["duckdb", "pandas", "polars"])
def test_the_lines_of_the_docs_read_the_parts(job, tool):
    block = next(
        code for code in re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL) if f"import {tool}" in code
    )
    done = subprocess.run([sys.executable, "-c", block + "\nprint(faces)"], cwd=job.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"happy\D+11\b", done.stdout), done.stdout
