"""examples/onnx_only.py answers as the runtime does, without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.assets import demo_photo
from mien.bundles import Bundle, open_bundle
from mien.classify import Classifier
from tests.support import tiny_bundle

EXAMPLE = Path(__file__).parent.parent / "examples" / "onnx_only.py"
# Hides Mien from the example: it has to do without.
RUN = "import runpy, sys; sys.modules['mien'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


def default(_: Path) -> Bundle:
    return open_bundle()


def colours_in_0_to_1(folder: Path) -> Bundle:
    return tiny_bundle(folder, chip_size=32, channels=3, input_range="0..1", temperature=0.01, uncertain_below=0.99)


@pytest.mark.parametrize("make", [default, colours_in_0_to_1])
def test_onnxruntime_alone_answers_as_the_runtime_does(make, tmp_path: Path) -> None:
    bundle = make(tmp_path / "bundle")
    classifier, spec = Classifier(bundle), bundle.spec
    size = (spec.chip_size, spec.chip_size)
    with Image.open(demo_photo()) as photo:
        crop = photo.convert("L" if spec.channels == 1 else "RGB").crop((150, 40, 310, 200)).resize(size, Image.Resampling.BOX)
    crop.save(tmp_path / "face.png")
    (probabilities,) = classifier.probabilities(np.asarray(crop)[None])
    said = subprocess.run(
        [sys.executable, "-c", RUN, EXAMPLE, bundle.folder, tmp_path / "face.png"], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    answers = dict(line.split() for line in said[:-2])
    assert list(answers) == [spec.labels[i] for i in np.argsort(-probabilities)]
    assert {label: float(p) for label, p in answers.items()} == pytest.approx(dict(zip(spec.labels, probabilities, strict=True)), abs=1e-4)
    assert said[-2] == ("not sure" if classifier.is_uncertain(classifier.emotions(probabilities)) else "sure enough")
