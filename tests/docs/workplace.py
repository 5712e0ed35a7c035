"""A folder in which the documentation's commands find what they talk about: photos, a clip, two small data sets, and a few programs.

What the pages name is real but tiny. ``pip`` and ``kaggle`` are stand-ins: the first checks that what is asked for exists, the second
hands out the small data set.
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
from tests.train import made_up

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = Path(__file__).parent / "programs"
FRAMES = 12


def prepare(folder: Path) -> Path:
    """Fill and return ``folder``."""
    portrait = Image.open(demo_photo())
    for name in ("photo.jpg", "holiday/a.jpg", "holiday/b.jpg", "more/deep/c.png", "site/group.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        portrait.save(folder / name)
    small = np.asarray(portrait.resize((320, 320)))
    write_clip(folder / "talk.mp4", [np.roll(small, 2 * i, axis=1) for i in range(FRAMES)])
    shutil.copy(folder / "talk.mp4", folder / "site/camera.mp4")
    data = made_up.fer2013(folder / "fer2013", train=6, test=3)
    for name in ("votes.csv", "ferplus_votes.csv"):
        made_up.votes(data, folder / name)
    images = sorted(f"test/{label}/PrivateTest_{i}.png" for label in LABELS for i in range(3))
    (folder / "groups.csv").write_text("file,tone\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(images)))
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for k, label in enumerate(("awake", "tired")):
            for i in range(count):
                made_up.write(folder / "faces", split, label, f"{split}{i}", made_up.chip(2 + 3 * k, i))
    (folder / "models").symlink_to(ROOT / "models")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a page's commands: this Python's programs, the stand-ins before them, and a cache of its own."""
    path = os.pathsep.join([str(PROGRAMS), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "120", "PYTHONPATH": str(ROOT)}


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
    """Return a script that trains one epoch of small batches, watches a clip instead of a camera, and calls nobody outside."""
    for pattern, stand_in in (
        (r"\bmien train\b", "mien train --epochs 1 --set batch_size=14 --set early_stopping=0"),
        (r"\bmien webcam\b(?! --device)", f"mien webcam --frames 2 --device {site}/camera.mp4"),
        (r"--device /dev/video\d", f"--frames 2 --device {site}/camera.mp4"),
        (r'camera_frames\("0"', f'camera_frames("{site}/camera.mp4"'),
        (r", live=True\), 500\)", ", live=True), 2)"),
        (r"https://example\.org", site),
    ):
        script = re.sub(pattern, stand_in, script)
    return script
