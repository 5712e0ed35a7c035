"""A folder in which the documentation's commands find what they talk about: photos, a clip, two small data sets, and a few programs.

What the pages name is real but tiny. Three programs stand in for what is not for a test: ``pip`` checks that what is asked for exists
(and installs what has to come without its requirements),
``kaggle`` finds the small data set, and ``serve_and_stop`` is ``mien serve`` that does not stay.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
from PIL import Image

from mien.assets import demo_photo
from mien.contract import LABELS
from tests.media.clips import write_clip
from tests.train import made_up, shapes

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = Path(__file__).parent / "programs"
FRAMES = 12
BRIEFLY = "--epochs 6 --set batch_size=14 --set early_stopping=0 --set optimizer.warmup_epochs=0 --set optimizer.learning_rate=0.01"
ONCE = "--epochs 1 --set batch_size=14 --set optimizer.warmup_epochs=0"  # an ImageNet backbone, whose graph alone takes its time


def prepare(folder: Path) -> Path:
    """Fill and return ``folder``."""
    portrait = Image.open(demo_photo())
    for name in (
        "photo.jpg",
        "face.png",
        "holiday/a.jpg",
        "holiday/b.jpg",
        "more/deep/c.png",
        "group.png",
        "site/group.jpg",
        "photos/happy/a.jpg",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        portrait.save(folder / name)
    small = np.asarray(portrait.resize((320, 320)))
    write_clip(folder / "talk.mp4", [np.roll(small, 2 * i, axis=1) for i in range(FRAMES)])
    for name in ("clip.mp4", "site/camera.mp4"):
        shutil.copy(folder / "talk.mp4", folder / name)
    data = shapes.write_shapes(folder / "fer2013", train=12, public=4, private=3)
    mislabel(data / "test", "PublicTest_0.png")
    for name in ("votes.csv", "ferplus_votes.csv"):
        made_up.votes(data, folder / name)
    images = sorted(f"test/{label}/PrivateTest_{i}.png" for label in LABELS for i in range(3))
    (folder / "groups.csv").write_text("file,tone\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(images)))
    for split, count in (("train", 16), ("val", 4), ("test", 4)):
        for shape, label in enumerate(("awake", "tired")):
            for i in range(count):
                made_up.write(folder / "faces", split, label, f"{split}{i}", shapes.draw(shape, np.random.default_rng([shape, i])))
    mislabel(folder / "faces/val", "val0.png")
    for name in ("models", "examples", "src"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def mislabel(folder: Path, name: str) -> None:
    """Give the images of one name in ``folder/<label>`` each other's labels: where no label is wrong, no temperature fits."""
    images = sorted(folder.glob(f"*/{name}"))
    contents = [image.read_bytes() for image in images]
    for image, content in zip(images, contents[1:] + contents[:1], strict=True):
        image.write_bytes(content)


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a page's commands: this Python's programs, the stand-ins before them, and a cache of its own."""
    path = os.pathsep.join([str(PROGRAMS), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **os.environ,
        "PATH": path,
        "XDG_CACHE_HOME": str(folder / "cache"),
        "COLUMNS": "120",
        "MIEN_TEST_INSTALLED": str(folder / "installed"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), str(folder / "installed")]),
    }


@contextmanager
def website(folder: Path) -> Iterator[str]:
    """Serve ``folder`` on this machine and give its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def commands(source: str) -> str:
    """Return the script of a shell block; of a transcript, the lines after ``$``."""
    lines = source.splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return textwrap.dedent("\n".join(lines))


def shortened(script: str, site: str) -> str:
    """Return a script that trains briefly on small batches, watches a clip as its camera, serves briefly and calls nobody outside."""
    for pattern, stand_in in (
        (r"\bmien data check fer2013\b", "(mien data check fer2013 || test $? = 1)"),  # ours is smaller, and it says so
        (r"\bmien train\b(?=.* --recipe (?:efficientnet_lite|mobilenet_offline)\b)", f"mien train {ONCE}"),
        (r"\bmien train (?!--epochs)", f"mien train {BRIEFLY} "),
        (r"(?m)^mien serve\b", "serve_and_stop"),
        (r"\bmien webcam\b(?! --device)", f"mien webcam --frames 2 --device {site}/camera.mp4"),
        (r"--device /dev/video\d", f"--frames 2 --device {site}/camera.mp4"),
        (r'camera_frames\("0"', f'camera_frames("{site}/camera.mp4"'),
        (r", live=True\), 500\)", ", live=True), 2)"),
        (r"https://example\.org", site),
    ):
        script = re.sub(pattern, stand_in, script)
    return script
