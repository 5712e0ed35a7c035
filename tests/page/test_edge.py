"""The page in docs/edge.md that needs nothing but onnxruntime-web gives the library's answer."""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from mien.bundles import open_bundle
from mien.classify import Classifier
from tests.page.conftest import portrait

PAGE = Path(__file__).parents[2] / "docs" / "edge.md"


@pytest.fixture
def website(tmp_path, runtime):
    """The page beside the files that it names, behind an address."""

    class Quiet(SimpleHTTPRequestHandler):
        extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}  # noqa: RUF012

        def log_message(self, *_):
            pass

    html = PAGE.read_text(encoding="utf-8").split("```html\n")[1].split("```")[0]
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    bundle = open_bundle()
    for file in (bundle.model_path, bundle.folder / "spec.json", *runtime.iterdir()):
        shutil.copy(file, tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_least_page_gives_the_librarys_probabilities(website, open_page, tmp_path):
    chip = portrait(512)[20:212, 130:322]
    picture = tmp_path / "face.png"
    Image.fromarray(chip).resize((48, 48), Image.Resampling.BOX).save(picture)
    page = open_page(website)
    page.wait_for_function("() => document.querySelector('input').onchange !== null")
    page.locator("input").set_input_files(picture)
    expect(page.locator("pre")).to_contain_text("sure")
    *told, _ = page.locator("pre").inner_text().splitlines()
    grey = np.asarray(Image.open(picture).convert("L"))
    bundle = open_bundle()
    wanted = dict(zip(bundle.spec.labels, Classifier(bundle).probabilities(grey[None])[0], strict=True))
    assert {line.split()[0]: float(line.split()[1]) for line in told} == pytest.approx(wanted, abs=1e-3)
