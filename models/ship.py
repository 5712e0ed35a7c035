"""A trained run becomes a model of the package: ``python -m models.ship RUN default --data FER2013`` (or ``nano``).

Writes the bundle in ``src/mien/weights``, with its weights in float16, and beside this file its Keras source and the history of the run.
``mien evaluate --into-bundle`` then measures the model and writes its card.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

from mien.bundles import Bundle, weights_dir
from mien.train.formats import convert
from mien.train.formats.sources import KERAS_SOURCES, open_source
from mien.train.rundir import MODEL

HERE = Path(__file__).parent
HISTORIES = {"default": "training_history", "nano": "nano_history"}


def write_source(model: keras.Model, file: Path) -> None:
    """Save ``model`` with weights that float16 holds, deflated: half the size.

    The file opens with Keras alone, in float32. The bundle's weights are rounded after the norms are folded into them, so a logit of the
    two may differ by some thousandths.
    """
    for variable in model.weights:
        variable.assign(np.asarray(variable).astype(np.float16).astype(np.float32))
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "model.keras"
        model.save(plain)
        with zipfile.ZipFile(plain) as stored, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
            for entry in stored.infolist():
                out.writestr(entry.filename, stored.read(entry))


def write_bundle(run: Path, data: Path, name: str, version: str) -> Bundle:
    """Export the run and keep its weights in float16; return the bundle."""
    with open_source(run, data=data, version=version) as source:
        return convert(source.bundle, "onnx-fp16", weights_dir() / name, source.sample, overwrite=True).bundle


def main() -> None:
    """Write the files and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of mien train")
    parser.add_argument("name", choices=sorted(HISTORIES), help="the shipped model that it replaces")
    parser.add_argument("--data", type=Path, required=True, help="FER2013")
    parser.add_argument("--release", default="1.0", help="the model's version")
    options = parser.parse_args()
    bundle = write_bundle(options.run, options.data, options.name, options.release)
    source = HERE / KERAS_SOURCES[options.name]
    write_source(keras.saving.load_model(options.run / MODEL), source)
    for suffix in (".csv", ".json"):
        shutil.copyfile(options.run / f"history{suffix}", HERE / f"{HISTORIES[options.name]}{suffix}")
    for file in (bundle.model_path, source):
        sys.stdout.write(f"{file}: {file.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
