"""Nothing leaves the machine, and nothing is written that docs/faq.md does not name, by any kind of process that Mien starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from mien.assets import demo_photo
from tests.batch.support import folder_of_faces
from tests.media.clips import write_clip
from tests.train.shapes import SIDE, write_shapes
from tests.watched import Watched, module, watch

REPOSITORY = Path(__file__).parent.parent
FAQ = REPOSITORY / "docs" / "faq.md"
AT_ONCE = 4  # most of the time they only stay


NOTEBOOK = """
import nbformat
from nbclient import NotebookClient
cells = ["import mien, time; from mien.assets import demo_photo", "mien.analyze(demo_photo())",
         "import matplotlib.pyplot as plt; plt.figure()", "time.sleep(14)"]
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
NotebookClient(book, timeout=120, kernel_name="python3").execute()
"""
SERVICE = """
import subprocess, sys, time, urllib.request
service = subprocess.Popen([sys.executable, "-m", "mien", "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
address = next(line.split()[3] for line in service.stderr if line.startswith("Mien is at "))
photo = open(sys.argv[1], "rb").read()
request = urllib.request.Request(address.rstrip("/") + "/v1/analyze", photo, {"Content-Type": "image/jpeg"})
assert b'"faces"' in urllib.request.urlopen(request).read()
time.sleep(14)
service.terminate()
assert service.wait(30) == 0
"""
TRAINING = """
import subprocess, sys
for verb in sys.argv[1].split(" / "):
    subprocess.run([sys.executable, "-m", "mien", *verb.split()], check=True)
"""
RECIPE = f"""
size = {SIDE}
epochs = 1
batch_size = 28
[model]
options = {{ stem = 4, widths = [4, 8], depths = [1, 1] }}
"""
BOTH_ENGINES = "import mien; from mien.assets import demo_photo; mien.analyze(demo_photo()); import mien.engines.openvino"
BENCHMARK = "from benchmarks.inference import classifier_figures; import time; classifier_figures('nano'); time.sleep(10)"


def analyze(folder: Path) -> Watched:
    return watch(folder, *module("mien", "analyze", demo_photo()))


def video(folder: Path) -> Watched:
    clip = write_clip(folder / "clip.mp4")
    return watch(folder, *module("mien", "video", clip, "--output", "clip.jsonl", "--annotated", "copy.mp4"))


def batch(folder: Path) -> Watched:
    photos = folder_of_faces(folder / "photos", 3)
    return watch(folder, *module("mien", "batch", photos, "--output", "job", "--workers", 2))


def batch_on_ray(folder: Path) -> Watched:
    photos = folder_of_faces(folder / "photos", 2)
    command = module("mien", "batch", photos, "--output", "job", "--workers", 1, "--engine", "ray")
    # The paths of Ray's sockets may have no more than 107 characters, which those in pytest's folders exceed.
    with tempfile.TemporaryDirectory(prefix="mien-", dir="/tmp") as short:
        return watch(folder, *command, allowed=(Path(short),), TMPDIR=short)


def service(folder: Path) -> Watched:
    return watch(folder, sys.executable, "-c", SERVICE, str(demo_photo()))


def training(folder: Path) -> Watched:
    data, recipe = write_shapes(folder / "data", train=8), folder / "tiny.toml"
    recipe.write_text(RECIPE)
    verbs = (
        f"train --data {data} --recipe {recipe} --run run",
        f"export run --data {data} --out bundle",
        f"export run --data {data} --format litert --out small",
        f"evaluate --model small --data {data} --report evaluation",
        f"audit --data {data} --report audit",
    )
    return watch(folder, sys.executable, "-c", TRAINING, " / ".join(verbs))


def openvino(folder: Path) -> Watched:
    done = watch(folder, sys.executable, "-m", "mien", "export", "nano", "--format", "openvino", "--out", "small")
    again = watch(folder, *module("mien", "analyze", demo_photo(), "--model", "small"))
    return Watched(
        done.status or again.status, done.output + again.output, done.calls + again.calls, done.written + again.written, again.home
    )


def notebook(folder: Path) -> Watched:
    return watch(folder, sys.executable, "-c", NOTEBOOK, PYTHONPATH=os.pathsep.join(sys.path[1:]))


def benchmark(folder: Path) -> Watched:
    return watch(folder, sys.executable, "-c", BENCHMARK, PYTHONPATH=str(REPOSITORY))


KINDS: tuple[Callable[[Path], Watched], ...] = (training, batch_on_ray, openvino, notebook, service, video, batch, analyze, benchmark)
# What docs/faq.md names, a kind of process at the most.
NAMED = (".cache/mien/", ".keras/", ".cache/matplotlib/", ".ipython/", ".ray/")
READ_ONLY = "/proc"  # for root, too


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[Watched]]:
    folders = [tmp_path_factory.mktemp(kind.__name__) for kind in KINDS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {kind.__name__: pool.submit(kind, folder) for kind, folder in zip(KINDS, folders, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
def test_nothing_leaves_the_machine(kind: str, watched: dict[str, Future[Watched]]) -> None:
    seen = watched[kind].result()
    assert seen.status == 0, seen.output
    assert seen.calls == ()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
def test_nothing_is_written_that_the_faq_does_not_name(kind: str, watched: dict[str, Future[Watched]]) -> None:
    seen = watched[kind].result()
    assert seen.written == ()
    assert [file for file in seen.home if not file.startswith(NAMED)] == []


def test_the_faq_names_what_is_written() -> None:
    answer = FAQ.read_text(encoding="utf-8").partition("## What stays on my disk?")[2].partition("\n## ")[0]
    assert [place for place in (*NAMED, "/tmp/ray") if f"`~/{place.rstrip('/')}`" not in answer and f"`{place}`" not in answer] == []


def test_a_home_that_cannot_be_written_is_no_matter() -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")} | {
        "HOME": READ_ONLY
    }
    done = subprocess.run([sys.executable, "-c", BOTH_ENGINES], env=plain, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_decoded_training_sets_need_a_place_that_can_be_written(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=1, public=1, private=1)
    code = "import sys; from mien.train.data.dataset import load; load(sys.argv[1])"
    plain = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"} | {"HOME": READ_ONLY}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "data")], env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DataError: expected to keep the decoded images in /proc/.cache/mien/datasets" in done.stderr
    assert "set XDG_CACHE_HOME" in done.stderr


def test_the_user_may_leave_the_reports_on() -> None:
    code = "import os, mien.runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for told, kept in ((None, "1"), ("0", "0")):
        environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
        environment |= {} if told is None else {"ORT_DISABLE_TELEMETRY": told}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == kept


def test_openvino_is_loaded_as_if_its_reporter_were_not_there() -> None:
    code = "import sys, mien.engines.openvino; print(sorted(name for name in sys.modules if name.startswith('openvino_telemetry')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
def test_one_place_loads_what_reports_home(package: str) -> None:
    """Whoever loads it elsewhere in Mien loads that place first, or sets the variable."""
    loads = re.compile(rf"^\s*(?:import|from) {package}\b", re.MULTILINE)
    first = re.compile(r"(?:import|from) mien\.(?:runtime|engines)|ORT_DISABLE_TELEMETRY")
    found = []
    for folder in ("src", "benchmarks", "examples"):
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if (load := loads.search(text)) and not first.search(text, 0, load.start()):
                found.append(str(file.relative_to(REPOSITORY)))
    assert found == []
