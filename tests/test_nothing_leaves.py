"""Nothing leaves the machine, and nothing is written that docs/faq.md does not name, by any kind of process that Mien starts."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
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
cells = ["import mien, time; from mien.assets import demo_photo", "mien.analyze(demo_photo())", "import matplotlib.pyplot as plt; plt.figure()",
         "time.sleep(14)"]
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
BENCHMARK = "from benchmarks.inference import classifier_figures; import time; classifier_figures('nano'); time.sleep(10)"


def analyze(folder: Path) -> Watched:
    return watch(folder, *module("mien", "analyze", demo_photo()))


def video(folder: Path) -> Watched:
    clip = write_clip(folder / "clip.mp4")
    return watch(folder, *module("mien", "video", clip, "--output", "clip.jsonl", "--annotate", "copy.mp4"))


def batch(folder: Path) -> Watched:
    photos = folder_of_faces(folder / "photos", 3)
    return watch(folder, *module("mien", "batch", photos, "--output", "job", "--workers", 2))


def batch_on_ray(folder: Path) -> Watched:
    photos = folder_of_faces(folder / "photos", 2)
    rays = Path("/tmp/ray")  # Ray's own place, which docs/faq.md names
    return watch(folder, *module("mien", "batch", photos, "--output", "job", "--workers", 1, "--engine", "ray"), allowed=(rays,))


def service(folder: Path) -> Watched:
    return watch(folder, sys.executable, "-c", SERVICE, str(demo_photo()))


def training(folder: Path) -> Watched:
    data, recipe = write_shapes(folder / "data", train=8), folder / "tiny.toml"
    recipe.write_text(RECIPE)
    verbs = (
        f"train --data {data} --recipe {recipe} --run run",
        f"export run --data {data} --out bundle",
        f"export run --data {data} --format litert --out small",
        f"evaluate --model small --data {data} --out evaluation",
        f"audit {data} --out audit",
    )
    return watch(folder, sys.executable, "-c", TRAINING, " / ".join(verbs))


def openvino(folder: Path) -> Watched:
    done = watch(folder, sys.executable, "-m", "mien", "export", "nano", "--format", "openvino", "--out", "small")
    again = watch(folder, *module("mien", "analyze", demo_photo(), "--model", "small"))
    return Watched(done.status or again.status, done.output + again.output, done.calls + again.calls, done.written + again.written, again.home)


def notebook(folder: Path) -> Watched:
    return watch(folder, sys.executable, "-c", NOTEBOOK, PYTHONPATH=os.pathsep.join(sys.path[1:]))


def benchmark(folder: Path) -> Watched:
    return watch(folder, sys.executable, "-c", BENCHMARK, PYTHONPATH=str(REPOSITORY))


KINDS: tuple[Callable[[Path], Watched], ...] = (training, batch_on_ray, openvino, notebook, service, video, batch, analyze, benchmark)
# What docs/faq.md names, a kind of process at the most.
NAMED = (".cache/mien/", ".keras/", ".cache/matplotlib/", ".ipython/")


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
