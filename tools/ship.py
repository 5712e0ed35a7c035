"""A trained run becomes a model of the package: ``python -m tools.ship default RUN --data FER2013`` (or ``nano``, ``ferplus``).

Several runs or ``.keras`` files, such as :mod:`tools.keep` wrote, become one model, their ensemble; ``models/emotion_recognition.keras``
stands for the present members. One file alone needs ``--recipe``, the one that it was trained by: it names the model and says whether its
graph averages over the mirror image. ``ferplus`` is the second head of runs, which answers FER+'s labels; it needs ``--votes``.
Writes the bundle in ``src/mien/weights``, with its weights in float16, and in ``models/`` its Keras source and the history of the runs;
of ``ferplus`` the bundle alone.
``mien evaluate --into-bundle`` then measures the model and writes its card.
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
from keras import layers

from mien.bundles import Bundle, weights_dir
from mien.errors import UsageError
from mien.train.data.dataset import Dataset
from mien.train.export.bundle import export_model, export_run, spec_of
from mien.train.export.ensemble import calibrated, combine, export_ensemble, load_for
from mien.train.export.formats import convert
from mien.train.export.formats.judge import sample_of
from mien.train.loop.run_folder import HISTORY, MODEL, read_history, write_history
from mien.train.models import networks_in
from mien.train.recipe import Recipe
from tools.sources import HISTORIES, KERAS_SOURCES, MODELS

FERPLUS = "ferplus"
LARGE_ARRAY = 4096  # values; a smaller one is not worth an index of its own


def write_source(model: keras.Model, file: Path) -> None:
    """Save ``model`` with weights that float16 holds, compressed: less than half the size.

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
                content = stored.read(entry)
                out.writestr(entry.filename, shuffled(content) if entry.filename.endswith(".h5") else content)


def shuffled(content: bytes) -> bytes:
    """Return an HDF5 file again with its large arrays deflated byte by byte: signs and exponents, which are alike, lie side by side."""
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
    """Return where the history of a network's file is: beside a kept one, or in the run folder of a run's own."""
    return file.with_name(HISTORY if file.name == MODEL else f"{file.stem}_history.json")


def histories(members: Sequence[Path], name: str, after: Path | None = None, *, folder: Path) -> None:
    """Write the members' histories beside the source, one after the other; a file's is beside it, that of the present source in ``folder``.

    A run that began with another network goes on from its epochs, the JSON file ``after``. Rows of an ensemble name their ``member``.
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


def write_bundle(
    members: Sequence[Path], data: Dataset, name: str, title: str | None, version: str, recipe: Recipe | None = None
) -> tuple[Bundle, keras.Model]:
    """Export the run or the ensemble, or their second head, as ``title``, weights in float16; return the bundle and its Keras source.

    A single file goes by its ``recipe``.

    FER+'s labels are cleaner: four of five answers are right without any threshold, so ``ferplus`` is asked for nine of ten.
    """
    head, target = ("votes", 0.9) if name == FERPLUS else ("emotion", None)
    title = title or (FERPLUS if name == FERPLUS else None)
    networks = calibrated(members, data, head, mirror=recipe is not None and recipe.flip_average)
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / "bundle"
        if len(networks) > 1:
            title = title or name
            float_bundle = export_ensemble(networks, data, draft, head=head, name=title, version=version, target_accuracy=target)
            source = combine(networks, title)
        elif recipe:
            (one,) = networks
            spec = spec_of(recipe, one.labels, title or recipe.name, version)
            chips = np.asarray(data.images[one.validation_rows])
            network = keras.Model(one.model.input, layers.Identity(name="logits")(one.model.output), name=spec.name)
            float_bundle = export_model(network, spec, chips, chips, data.labels[one.validation_rows], draft)
            (source,) = networks_in(members[0])
        else:
            float_bundle = export_run(members[0], data, draft, head=head, name=title, version=version, target_accuracy=target)
            source = keras.saving.load_model(members[0] / MODEL)
        sample = sample_of(float_bundle.spec, data)
        return convert(float_bundle, "onnx-fp16", weights_dir() / name, sample, overwrite=True).bundle, source


def main() -> None:
    """Write the files and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*HISTORIES, FERPLUS], help="the shipped model that is replaced")
    parser.add_argument("members", type=Path, nargs="+", metavar="MEMBER", help="run folder of mien train, or a .keras file")
    parser.add_argument("--data", type=Path, required=True, help="FER2013")
    parser.add_argument("--votes", type=Path, help="FER+ votes, for ferplus")
    parser.add_argument(
        "--title", help="the model's name in results; by default the recipe's, of an ensemble and of ferplus the shipped one"
    )
    parser.add_argument("--recipe", help="recipe of a single .keras file: a shipped one's name, or a .toml file")
    parser.add_argument("--release", default="1.0", help="the model's version")
    parser.add_argument("--after", type=Path, metavar="JSON", help="history of the network that the run began with; its epochs come first")
    options = parser.parse_args()
    if options.name == FERPLUS and options.after:
        parser.error("ferplus has no history of its own: give no --after")
    single = len(options.members) == 1 and options.members[0].suffix == ".keras"
    if single and not options.recipe:
        parser.error(f"{options.members[0]} alone says nothing of its recipe; give --recipe, or the run folder")
    if options.recipe and not single:
        parser.error("--recipe is for a single .keras file; run folders bring theirs")
    recipe = Recipe.load(options.recipe) if options.recipe else None
    data = load_for(options.members[0], options.data, options.votes)
    bundle, model = write_bundle(options.members, data, options.name, options.title, options.release, recipe)
    files = [bundle.model_path]
    if options.name != FERPLUS:
        files.append(MODELS / KERAS_SOURCES[options.name])
        write_source(model, files[-1])
        histories(options.members, options.name, options.after, folder=MODELS)
    for file in files:
        sys.stdout.write(f"{file}: {file.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
