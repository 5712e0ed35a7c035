"""Turns a trained network into models of the package: ``python -m tools.ship default NETWORK --data DIR --votes CSV --photos DIR``.

``default`` needs a network with two heads and also writes ``fer2013`` and ``ferplus``. ``nano`` needs a network with one head or two heads.
NETWORK is a run folder, or a ``.keras`` file that :mod:`tools.keep` wrote or that is in ``models/``. Photos and PublicTest choose the
operating point (:mod:`mien.train.evaluation.operating_point`). The command writes the bundles into ``src/mien/weights``, with weights in
float16. It writes the Keras source with all heads and the history of the run into ``models/``. ``mien evaluate --into-bundle`` then
measures each model and writes its card.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from mien.bundles import weights_dir
from mien.contract import InputSpec, template_for
from mien.errors import UsageError
from mien.train.data.dataset import load
from mien.train.evaluation.photos import labelled_photos, people_of
from mien.train.export.heads import Material, ship_heads
from mien.train.loop.run_folder import HISTORY, MODEL, read_history, write_history
from mien.train.loop.trained import read_config, trained_network
from mien.train.models import open_network
from tools.sources import HISTORIES, KERAS_SOURCES, MODELS

LARGE_ARRAY = 4096  # values; for a smaller array, an index costs more than it saves


def write_source(model: keras.Model, file: Path) -> None:
    """Save ``model`` compressed, with weights rounded to float16. The file has less than half the size.

    Keras can open the file without Mien, in float32. The weights of the bundle are rounded after the norms are folded into them, so the
    logits of file and bundle may differ by some thousandths.
    """
    for variable in model.weights:
        variable.assign(np.asarray(variable).astype(np.float16).astype(np.float32))
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "model.keras"
        model.save(plain)
        with zipfile.ZipFile(plain) as stored, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
            for entry in stored.infolist():
                content = stored.read(entry)
                out.writestr(entry.filename, shuffled(content) if entry.filename.endswith(".h5") else content)


def shuffled(content: bytes) -> bytes:
    """Return an HDF5 file whose large arrays are shuffled by byte and deflated. Similar bytes (signs, exponents) then lie side by side."""
    packed = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as source, h5py.File(packed, "w") as out:

        def copy(path: str, thing: h5py.Group | h5py.Dataset) -> None:
            if isinstance(thing, h5py.Group):
                there = out.require_group(path)
            elif thing.size > LARGE_ARRAY:
                there = out.create_dataset(path, data=thing[()], chunks=thing.shape, compression="gzip", compression_opts=9, shuffle=True)
            else:
                there = out.create_dataset(path, data=thing[()])
            there.attrs.update(thing.attrs)

        out.attrs.update(source.attrs)
        source.visititems(copy)
    return packed.getvalue()


def history_beside(file: Path) -> Path:
    """Return the path of a network's history: beside a file of tools.keep, or in the run folder of a run."""
    return file.with_name(HISTORY if file.name == MODEL else f"{file.stem}_history.json")


def histories(members: Sequence[Path], name: str, after: Path | None = None, *, folder: Path) -> None:
    """Write the histories of the members, one after the other, beside the source. The present source's history is in ``folder``.

    The history of a member's file is beside that file. If a run started from another network, the JSON file ``after`` holds the earlier
    epochs, which come first. In an ensemble, ``member`` names the member of each row.
    """
    if len({member.stem for member in members}) < len(set(members)):
        raise UsageError(f"two of {', '.join(map(str, members))} have one name, which their history could not tell apart; rename a folder")
    kept = folder / f"{HISTORIES[name]}.json"
    told: list[dict[str, Any]] = []
    for member in members:
        if member.suffix == ".keras":
            own = kept if member.name == KERAS_SOURCES[name] else history_beside(member)
            name_of, rows = member.stem, json.loads(own.read_text(encoding="utf-8"))
        else:
            name_of, rows = member.name, read_history(member)
        if after:
            before = json.loads(after.read_text(encoding="utf-8"))
            if "member" in rows[0]:
                rows = [{"member": after.parent.name, **row} for row in before] + rows
            else:
                rows = before + [row | {"epoch": len(before) + row["epoch"]} for row in rows]
        told += [{"member": name_of, **row} for row in rows] if len(members) > 1 else rows
    with tempfile.TemporaryDirectory() as scratch:
        write_history(Path(scratch), told)
        for suffix in (".csv", ".json"):
            shutil.copyfile(Path(scratch) / f"history{suffix}", folder / f"{HISTORIES[name]}{suffix}")


def open_source(source: Path) -> tuple[keras.Model, bool]:
    """Return the network of a run folder or a ``.keras`` file with all its heads, and whether the run's recipe averages mirror images."""
    if source.suffix == ".keras":
        return open_network(source), False
    recipe, _ = read_config(source)
    return trained_network(source), recipe.flip_average


def main() -> None:
    """Write the files and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(HISTORIES), help="the model to replace; default also replaces fer2013 and ferplus")
    parser.add_argument("network", type=Path, help="run folder of mien train, or a .keras file")
    parser.add_argument("--data", type=Path, required=True, help="FER2013")
    parser.add_argument("--votes", type=Path, required=True, help="CSV of FER+ votes on the images of --data")
    parser.add_argument("--photos", type=Path, required=True, help="labelled photos, <label>/*.jpg; they choose the operating point")
    parser.add_argument("--people", type=Path, help="CSV with the columns file,person: the person in each photo, for cross-validation")
    parser.add_argument("--mirror", action="store_true", help="average over the mirror image; a run's recipe can also set this")
    parser.add_argument("--release", default="2.0", help="the models' version")
    parser.add_argument("--after", type=Path, metavar="JSON", help="history of the network that the run started from; it comes first")
    parser.add_argument("--out", type=Path, default=weights_dir(), help="folder of the bundles; by default the package's folder")
    options = parser.parse_args()
    file = MODELS / KERAS_SOURCES[options.name]
    again = options.network.resolve() == file.resolve()
    if not again and not history_beside(options.network).is_file() and options.network.suffix == ".keras":
        parser.error(f"no history at {history_beside(options.network)}; tools.keep writes it beside the network")
    network, mirror = open_source(options.network)
    _, side, _, channels = network.input.shape
    data = load(options.data, size=side, channels=channels, votes=options.votes)
    plain = InputSpec("photos", "1", chip_size=side, channels=channels, template=template_for(side))
    photos, split = labelled_photos(options.photos, plain)
    people = people_of(photos.names, options.people) if options.people else None
    source, bundles, record = ship_heads(
        network,
        Material(data, photos, split, people),
        options.out,
        model=options.name,
        version=options.release,
        mirror=mirror or options.mirror,
    )
    if not again:
        histories([options.network], options.name, options.after, folder=MODELS)
    write_source(source, file)
    sys.stdout.write(json.dumps(record, indent=1) + "\n")
    for written in (file, *(bundle.model_path for bundle in bundles[:1])):
        sys.stdout.write(f"{written}: {written.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
