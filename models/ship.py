"""A trained run becomes a model of the package: ``python -m models.ship RUN default --data FER2013`` (or ``nano``).

Writes the bundle in ``src/mien/weights``, with its weights in float16, and beside this file its Keras source and the history of the run.
``mien evaluate --into-bundle`` then measures the model and writes its card.
"""

from __future__ import annotations

import argparse
import json
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
from mien.train.rundir import MODEL, read_history, write_history

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


def histories(run: Path, name: str, continues: bool, folder: Path = HERE) -> None:
    """Write the run's history beside the source; one that ``continues`` the model it replaces goes on from the epochs kept there."""
    rows = read_history(run)
    if continues:
        before = json.loads((folder / f"{HISTORIES[name]}.json").read_text(encoding="utf-8"))
        rows = before + [row | {"epoch": len(before) + row["epoch"]} for row in rows]
    with tempfile.TemporaryDirectory() as scratch:
        write_history(Path(scratch), rows)
        for suffix in (".csv", ".json"):
            shutil.copyfile(Path(scratch) / f"history{suffix}", folder / f"{HISTORIES[name]}{suffix}")


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
    parser.add_argument("--continues", action="store_true", help="the run began with the weights of the model that it replaces")
    options = parser.parse_args()
    bundle = write_bundle(options.run, options.data, options.name, options.release)
    source = HERE / KERAS_SOURCES[options.name]
    write_source(keras.saving.load_model(options.run / MODEL), source)
    histories(options.run, options.name, options.continues)
    for file in (bundle.model_path, source):
        sys.stdout.write(f"{file}: {file.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
