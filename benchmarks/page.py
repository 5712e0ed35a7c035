"""How fast does the page answer, with the service and only in the browser? ``python -m benchmarks.page``.

A Chromium whose camera plays a clip opens the Live tab of a new service twice: once with the answers of the service, once in private mode.
The page itself reports pace and delay: results per second, and milliseconds from taking a frame to showing its boxes. ``--pictures DIR``
also takes the screenshots of the README.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from benchmarks.timing import machine, markdown
from mien.assets import demo_photo
from mien.media.video import open_video
from mien.serve.browser_runtime import install

FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
CAMERA = ("--use-fake-device-for-media-stream", "--use-file-for-fake-video-capture=camera.mjpeg")  # the page shows the name
SIZE = (640, 480)
PATIENCE_MS = 120_000
WINDOW = {"width": 1280, "height": 860}


def main() -> None:
    """Print the table, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, help="clip for the camera and the Video tab; by default the bundled portrait, moving")
    parser.add_argument("--photo", type=Path, default=demo_photo(), help="photo for the picture of the Photo tab")
    parser.add_argument("--seconds", type=float, default=20, help="watched in each mode")
    parser.add_argument("--pictures", type=Path, help="take screenshots into this folder")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()

    install()
    expect.set_options(timeout=PATIENCE_MS)
    frames = list(clip_frames(options.clip) if options.clip else walk())
    pictures = options.pictures.resolve() if options.pictures else None
    photo, result_file = options.photo.resolve(), options.json.resolve() if options.json else None
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), service() as address, browser(frames) as chromium:
        write_clip(frames, Path("clip.mp4"))
        figures = {}
        for name, private in (("with the service", False), ("in the browser alone", True)):
            figures |= {f"{what}, {name}": value for what, value in live(chromium, address, private, options.seconds).items()}
        if pictures:
            take(chromium, address, photo, pictures)
    text = machine(("onnxruntime", "playwright"))
    print(text)
    print()
    print(markdown(("what", "figure"), [(name, f"{value:.1f}") for name, value in figures.items()]))
    if result_file:
        result_file.write_text(json.dumps({"machine": text, "figures": figures}, indent=1) + "\n", encoding="utf-8")


def live(chromium: Browser, address: str, private: bool, seconds: float) -> dict[str, float]:
    """Return pace, delay and the time to the first answer of the Live tab."""
    with opened(chromium, address) as page:
        figures = {}
        if private:
            began = time.perf_counter()
            go_private(page)
            figures["seconds to load the runtime and both networks"] = time.perf_counter() - began
        began = time.perf_counter()
        page.locator("#live-start").click()
        expect(page.locator("#live-reading .headline b")).to_be_visible()
        figures["seconds from the click to the first answer"] = time.perf_counter() - began
        time.sleep(3)  # the pace is a mean over three seconds
        samples = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            samples.append((number(page.locator("#live-pace")), number(page.locator("#live-delay"))))
            time.sleep(0.5)
        pace, delay = zip(*samples, strict=True)
        return {"results a second": statistics.median(pace), "delay, ms": statistics.median(delay), **figures}


def take(chromium: Browser, address: str, photo: Path, folder: Path) -> None:
    """Write page-live.png, page-photo.png and page-video.png."""
    folder.mkdir(parents=True, exist_ok=True)
    with opened(chromium, address) as page:
        page.locator("#live-start").click()
        expect(page.locator("#live-reading .headline b")).to_be_visible()
        time.sleep(31)  # fills the timeline
        shot(page, folder / "page-live.png")
    with opened(chromium, f"{address}/#photo") as page:
        page.locator("#photo-input").set_input_files(str(photo))
        expect(page.locator("#photo-reading .headline b")).to_be_visible()
        page.locator("#photo-heat").click()
        expect(page.locator("#photo-words")).to_contain_text(re.compile("rests|decides"))  # on a part, or on no single one
        shot(page, folder / "page-photo.png")
    with opened(chromium, f"{address}/#video", scheme="dark") as page:
        page.locator("#video-input").set_input_files("clip.mp4")
        expect(page.locator("#video-player")).to_be_visible()
        slider = page.get_by_role("slider", name="Place in the video")
        expect(slider).not_to_have_attribute("aria-valuemax", "0.0")
        slider.press("ArrowRight")
        expect(slider).to_have_attribute("aria-valuenow", "1.0")
        page.locator("#tab-video").focus()
        time.sleep(1)
        shot(page, folder / "page-video.png")


def shot(page: Page, file: Path) -> None:
    """Write a screenshot with 52 levels per colour. The reduction is not visible and halves the file."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        levels = np.rint(np.asarray(image.convert("RGB")) / 255 * 51)
    Image.fromarray(np.rint(levels / 51 * 255).astype(np.uint8)).save(file, optimize=True)


@contextlib.contextmanager
def opened(chromium: Browser, address: str, scheme: str = "light") -> Iterator[Page]:
    """Open a new page with permission to use the camera, and wait until it has loaded the model's data."""
    context = chromium.new_context(viewport=WINDOW, permissions=["camera"], color_scheme=scheme)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#model")).to_contain_text("Model")
    yield page
    context.close()


def go_private(page: Page) -> None:
    """Switch private mode on."""
    page.locator("#private").click()
    expect(page.locator("#private")).to_have_attribute("aria-checked", "true")


def number(place: Locator) -> float:
    """Return the number in a text such as "12 a second"."""
    word = place.inner_text().split()[0]
    return float(word) if word.isdigit() else 0.0


@contextlib.contextmanager
def service() -> Iterator[str]:
    """Run ``mien serve`` on a free port and give its address."""
    command = [sys.executable, "-m", "mien", "serve", "--port", "0"]
    with Path("serve.log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        while "Mien is at" not in Path("serve.log").read_text():
            if process.poll() is not None:
                sys.exit(Path("serve.log").read_text())
            time.sleep(0.1)
        try:
            yield Path("serve.log").read_text().split("Mien is at ")[1].split()[0]
        finally:
            process.terminate()


@contextlib.contextmanager
def browser(frames: list[NDArray[np.uint8]]) -> Iterator[Browser]:
    """Start a Chromium whose camera plays the frames."""
    path = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    if path is None:
        sys.exit("no Chromium here; run: apt-get install chromium")
    with Path("camera.mjpeg").open("wb") as out:
        for frame in frames:
            Image.fromarray(frame).save(out, "JPEG", quality=90)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *CAMERA], env={**os.environ})
        yield chromium
        chromium.close()


def walk() -> Iterator[NDArray[np.uint8]]:
    """Yield frames of 640x480 in which the bundled portrait moves to and fro."""
    with Image.open(demo_photo()) as photo:
        face = np.asarray(photo.convert("RGB").resize((480, 480)))
    for angle in np.linspace(0, 2 * np.pi, 90, endpoint=False):
        frame = np.full((480, 640, 3), (72, 84, 98), np.uint8)
        left = 80 + round(40 * np.sin(angle))
        frame[:, left : left + 480] = face
        yield frame


def clip_frames(file: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a clip, scaled and cropped to 640x480."""
    with open_video(file) as video:
        for frame in video.frames():
            height, width = frame.frame_rgb.shape[:2]
            scale = max(SIZE[0] / width, SIZE[1] / height)
            image = Image.fromarray(frame.frame_rgb).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
            x, y = (image.width - SIZE[0]) // 2, (image.height - SIZE[1]) // 2
            yield np.asarray(image.crop((x, y, x + SIZE[0], y + SIZE[1])))


def write_clip(frames: list[NDArray[np.uint8]], file: Path) -> None:
    """Write the frames as H.264, 30 per second."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
