"""Size and speed of the runtime: ``python -m benchmarks.inference``.

Everything is measured in one run on one machine, on one thread unless a row says otherwise. The same run measures a bound for comparison:
the bare onnxruntime session for the classifier, and a bare Python start for the import.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.installed import installed_mb, runtime_packages
from benchmarks.timing import machine, markdown, median_ms
from mien.align import chip
from mien.assets import demo_photo
from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.contract import model_input
from mien.detect import find_detector
from mien.media.images import read_photo
from mien.pipeline import Pipeline
from mien.runtime import ort


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    figures = {
        **classifier_figures(options.model),
        **photo_figures(options.model),
        **start_figures(),
        "packages that the runtime needs, MB of site-packages": installed_mb(runtime_packages()),
    }
    print(machine())
    print()
    print(markdown(("what", "figure"), [(name, f"{value:.2f}") for name, value in figures.items()]))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n", encoding="utf-8")


def classifier_figures(model: str) -> dict[str, float]:
    """Return milliseconds per face at batches of 1 and 32, and the ratio to the bare onnxruntime session at its best batch."""
    bundle = open_bundle(model)
    classifier = Classifier(bundle, threads=1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    bare = ort.InferenceSession(str(bundle.model_path), options, providers=["CPUExecutionProvider"])
    chips = np.random.default_rng(0).integers(0, 256, (10_000, *classifier.spec.input_shape[:2]), dtype=np.uint8)
    if classifier.spec.channels == 3:
        chips = np.repeat(chips[..., None], 3, -1)
    name = bare.get_inputs()[0].name
    bare_ms = min(
        median_ms(lambda size=size: bare.run(None, {name: model_input(chips[:size], bundle.spec)}), 8) / size for size in (8, 32, 128, 256)
    )
    many_ms = median_ms(lambda: classifier.probabilities(chips), 1, 0) / len(chips)
    return {
        "classifier, ms a face, batch 1": median_ms(lambda: classifier.probabilities(chips[:1]), 100),
        "classifier, ms a face, batch 32": median_ms(lambda: classifier.probabilities(chips[:32]), 20) / 32,
        "classifier on 10,000 chips / bare onnxruntime at its best batch (speed ratio)": bare_ms / many_ms,
    }


def photo_figures(model: str) -> dict[str, float]:
    """Return the milliseconds of each step for a 640x480 JPEG with one face."""
    with Image.open(demo_photo()) as portrait:
        photo = Image.new("RGB", (640, 480), (120, 110, 100))
        photo.paste(portrait.resize((480, 480), Image.Resampling.LANCZOS), (80, 0))
    jpeg = io.BytesIO()
    photo.save(jpeg, "JPEG", quality=90)
    data = jpeg.getvalue()
    pipeline = Pipeline(model=model, threads=1)
    result = pipeline.analyze(data)
    if len(result.faces) != 1:
        raise SystemExit(f"expected one face in the test photo, found {len(result.faces)}")
    frame = read_photo(data).frame_rgb
    detector = find_detector("auto", threads=1)
    bundle = open_bundle(model)
    classifier = Classifier(bundle, threads=1)
    one = chip(frame, result.faces[0].landmarks, bundle.spec)
    return {
        "640x480 photo, one face: decode, ms": median_ms(lambda: read_photo(data)),
        "640x480 photo, one face: detect, ms": median_ms(lambda: detector.detect(frame)),
        "640x480 photo, one face: align, ms": median_ms(lambda: chip(frame, result.faces[0].landmarks, bundle.spec)),
        "640x480 photo, one face: classify, ms": median_ms(lambda: classifier.probabilities(one[None])),
        "640x480 photo, one face: whole pipeline, ms": median_ms(lambda: pipeline.analyze(data)),
    }


def start_figures() -> dict[str, float]:
    """Return the seconds that ``import mien`` adds to a Python start, and the seconds of a whole ``mien analyze`` of one photo."""

    def start(*arguments: str) -> float:
        return median_ms(lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True), 7, 1) / 1000

    bare = start("-c", "pass")
    return {
        "import mien, s over a bare Python start": start("-c", "import mien") - bare,
        "mien analyze of one photo, start to end, s": start("-m", "mien", "analyze", str(demo_photo())),
    }


if __name__ == "__main__":
    main()
