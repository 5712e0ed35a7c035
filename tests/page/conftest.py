"""A real service, a real Chromium, and a camera that plays real faces.

Screenshots go to the folder that MIEN_SCREENSHOTS names, or to pytest's temporary folder.
"""

import csv
import io
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from mien.assets import demo_photo
from mien.errors import FetchError
from mien.serve.browser_runtime import install

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
IN_CI = os.environ.get("CI") == "true"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
]
PATIENCE_MS = 30_000  # a loaded machine is slow, a broken page never ends
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def missing(what):
    """Skip a test for want of something; where everything has to be there, fail."""
    (pytest.fail if IN_CI else pytest.skip)(what)


class Service:
    """``mien serve`` as a process of its own, on one port for its whole life and beyond."""

    def __init__(self, folder, port=0, **environment):
        self._environment = {**os.environ, "XDG_CACHE_HOME": str(folder), **environment}
        self.address = ""
        self._port = port
        self.start()

    def start(self):
        port = self.address.rpartition(":")[2] or str(self._port)
        command = [sys.executable, "-m", "mien", "serve", "--port", port]
        self.process = subprocess.Popen(command, env=self._environment, stderr=subprocess.PIPE, text=True)
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if "Mien is at http://" in line:
                self.address = line.split()[3]
                break
        else:
            raise RuntimeError("".join(lines))
        self._reader = threading.Thread(target=self.process.stderr.read, daemon=True)  # a full pipe would stop the service
        self._reader.start()

    def kill(self):
        self.process.kill()
        self.process.wait(30)
        self._reader.join(30)
        self.process.stderr.close()


def portrait(side):
    """Return the bundled photograph, uint8 (side, side, 3)."""
    with Image.open(demo_photo()) as photo:
        return np.asarray(photo.convert("RGB").resize((side, side)))


def session(page, folder):
    """Save the Live tab's session and return its rows."""
    with page.expect_download() as table:
        page.get_by_role("button", name="Save as CSV").click()
    table.value.save_as(folder / "session.csv")
    with (folder / "session.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def ids_of(rows):
    return {int(row["track_id"]) for row in rows if row["track_id"]}


def count_pictures(page):
    """Return a function that tells how many pictures, of those decoded from now on, a page holds in memory."""
    page.evaluate(
        """() => {
          const decode = createImageBitmap;
          globalThis.pictures = [];
          globalThis.createImageBitmap = async (...what) => {
            const picture = await decode(...what);
            pictures.push(picture);
            return picture;
          };
        }"""
    )
    return lambda: page.evaluate("pictures.filter((picture) => picture.width).length")  # closed or handed over: 0 wide


@pytest.fixture(scope="package")
def camera_file(tmp_path_factory):
    """A camera's pictures: one face that walks to and fro, 640x480."""
    file = tmp_path_factory.mktemp("camera") / "walk.mjpeg"
    face = portrait(480)
    with file.open("wb") as out:
        for angle in np.linspace(0, 2 * np.pi, 40, endpoint=False):
            frame = np.full((480, 640, 3), (72, 84, 98), np.uint8)
            left = 80 + round(40 * np.sin(angle))
            frame[:, left : left + 480] = face
            buffer = io.BytesIO()
            Image.fromarray(frame).save(buffer, "JPEG", quality=88)
            out.write(buffer.getvalue())
    return file


@pytest.fixture(scope="package")
def chromium(camera_file):
    if CHROMIUM is None:
        missing("no Chromium here: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-video-capture={camera_file}"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def cache(tmp_path_factory):
    """A cache folder in which the browser's runtime is not installed."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="package")
def service(cache):
    running = Service(cache)
    yield running
    running.kill()


@pytest.fixture(scope="package")
def private_service(runtime):
    running = Service(runtime.parents[2])
    yield running
    running.kill()


@pytest.fixture(scope="package")
def runtime():
    """The folder of the browser's runtime, fetched once and kept in the user's cache."""
    try:
        return install()
    except FetchError as error:
        missing(f"no browser runtime here, and none to be had: {error}")


@pytest.fixture
def open_page(chromium):
    """Open pages that must not have failed by the end of the test: no exception, nothing that the policy blocked."""
    contexts, complaints = [], []

    def open_page(address, *, camera=True, viewport=DESKTOP, **options):
        context = chromium.new_context(viewport=viewport, permissions=["camera"] if camera else [], accept_downloads=True, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: "Content Security Policy" in message.text and complaints.append(message.text))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def shot(tmp_path):
    """Keep a screenshot under a name."""
    folder = Path(os.environ.get("MIEN_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda page, name, **options: page.screenshot(path=folder / f"{name}.png", **options)


@pytest.fixture(scope="package")
def check_access():
    """Fail on anything that axe-core finds wrong for people with disabilities."""
    axe = Axe()

    def check(page):
        found = axe.run(page).response["violations"]
        assert [(item["id"], node["target"], node["failureSummary"]) for item in found for node in item["nodes"]] == []

    return check
