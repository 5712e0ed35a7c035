"""docs/service.md says what the service does: its lines run, its tables are the code's; ``python -m tests.serve.test_docs`` writes them."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import features

from benchmarks import decoding
from benchmarks.serve import RESULT
from benchmarks.timing import markdown
from mien.serve.settings import Settings
from tests.media.clips import write_clip
from tests.media.pictures import corners

DOCS = Path(__file__).parents[2] / "docs" / "service.md"
ADDRESS = "http://127.0.0.1:8000"


def lines_of(language):
    return [
        block.strip() for block in re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    ]


def settings_table():
    rows = []
    for name, field in Settings.model_fields.items():
        default = (
            "" if field.default in (None, ()) else str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}"
        )
        rows.append((f"`{name}`", default, field.description))
    return markdown(("setting", "default", "what it does"), rows)


def figures_table():
    if not RESULT.is_file():
        return "Not measured yet."
    measured = json.loads(RESULT.read_text(encoding="utf-8"))
    table = markdown(("what", "figure"), [(name, f"{value:.2f}") for name, value in measured["figures"].items()])
    return f"{table}\n\n{measured['machine']}."


def rewritten(text):
    memory = decoding.table(json.loads(decoding.RESULT.read_text(encoding="utf-8")))
    blocks = {"<!-- settings -->": settings_table(), "<!-- figures: decoding -->": memory, "<!-- figures: serve -->": figures_table()}
    for start, table in blocks.items():
        before, rest = text.split(start + "\n", 1)
        text = f"{before}{start}\n{table}\n<!-- end -->{rest.split('<!-- end -->', 1)[1]}"
    return text


@pytest.fixture
def folder(tmp_path, portrait, monkeypatch):
    (tmp_path / "photo.jpg").write_bytes(portrait)
    (tmp_path / "group.png").write_bytes(corners("PNG"))
    write_clip(tmp_path / "clip.mp4", 10)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_tables_are_those_of_the_code():
    text = DOCS.read_text(encoding="utf-8")
    assert text == rewritten(text), "run: python -m tests.serve.test_docs"


CURLS = [block for block in lines_of("sh") if block.startswith("curl")]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("line", CURLS)
def test_the_curl_lines_run(line, address, folder):
    done = subprocess.run(shlex.split(line.replace(ADDRESS, address)), capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)


def test_there_are_curl_lines():
    assert len(CURLS) >= 3


def test_the_python_lines_run(address, folder, capsys):
    (block,) = lines_of("python")
    exec(compile(block.replace(ADDRESS, address), "docs", "exec"), {})
    assert capsys.readouterr().out.splitlines() == ["photo.jpg ['happy']", "group.png []", "1"]
    assert (folder / "annotated.mp4").exists()


@pytest.mark.slow  # writes and reads large pictures
@pytest.mark.skipif(not decoding.tells_peaks(), reason="the system does not tell the peak of a process's memory (Linux does)")
@pytest.mark.parametrize("name", ["JPEG", "progressive JPEG", "PNG", "WebP", "AVIF", "JPEG 2000"])
def test_reading_takes_as_much_memory_as_said(tmp_path, name):
    needs = decoding.KINDS[name].needs
    if needs and not features.check(needs):
        pytest.skip(f"Pillow was built without {needs}")
    (said,) = re.findall(rf"^\| {name} \| (\d+) \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert 0.6 * float(said) < decoding.picture_peak(name, tmp_path, (4000, 3000)) < float(said) + 0.5


if __name__ == "__main__":
    DOCS.write_text(rewritten(DOCS.read_text(encoding="utf-8")), encoding="utf-8")
