"""Opens the source of an export: a run of ``mien train``, or a bundle with or without its Keras source."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from mien.bundles import Bundle, open_bundle
from mien.errors import UsageError
from mien.train.data.dataset import Dataset, load
from mien.train.export.formats.judge import Sample, demo_crops, sample_of
from mien.train.loop.run_folder import is_run
from mien.train.loop.trained import inference_model, read_config

if TYPE_CHECKING:
    import keras

KERAS_FILE = "model.keras"
SAME_ON = 32  # number of chips on which a bundle and a .keras file are compared


class RunOptions(TypedDict, total=False):
    """Keywords of :func:`mien.train.export.bundle.export_run`."""

    head: str
    name: str | None
    version: str
    target_accuracy: float | None


@dataclass(frozen=True)
class Source:
    """A float ONNX bundle, the chips that its exports are compared on, and a function that gives its Keras network (None if none)."""

    bundle: Bundle
    sample: Sample
    network: Callable[[], keras.Model] | None


@contextmanager
def open_source(
    model: str | Path,
    *,
    data: Path | None = None,
    votes: Path | None = None,
    keras_file: Path | None = None,
    **options: Unpack[RunOptions],
) -> Iterator[Source]:
    """Give the source of an export. The bundle that is made from a run exists until the context ends.

    Args:
        model: a run folder, a bundle folder, or the name of a shipped model.
        data: the data set of the model; a run needs it.
        votes: FER+ votes on the images of ``data``, if the model answers FER+'s labels.
        keras_file: Keras source of a bundle; by default its ``model.keras``.
        options: keywords of :func:`mien.train.export.bundle.export_run`, for runs only.

    Raises:
        UsageError: the model is a run and ``data`` is None.
        BundleError, DataError, ExportError, TrainingError: the model or its data set cannot be read.
    """
    if is_run(model):
        with tempfile.TemporaryDirectory(prefix="mien-run-") as scratch:
            yield _run_source(Path(model), load_for_run(Path(model), data, votes), Path(scratch) / "bundle", **options)
        return
    bundle = open_bundle(model)
    loaded = None if data is None else load(data, size=bundle.spec.chip_size, channels=bundle.spec.channels, votes=votes)
    file = keras_file or _keras_inside(bundle)
    yield Source(bundle, sample_of(bundle.spec, loaded), None if file is None else lambda: _network(bundle, file))


def load_for_run(run: Path, data: Path | None, votes: Path | None = None) -> Dataset:
    """Return the data set of a run, with images in the size and channels of its network.

    Raises:
        UsageError: ``data`` is None.
    """
    if data is None:
        raise UsageError(f"{run} is a run, which is calibrated on its validation split; add --data DIR, the data set it was trained on")
    recipe, _ = read_config(run)
    return load(data, size=recipe.size, channels=recipe.channels, votes=votes)


def _run_source(run: Path, data: Dataset, folder: Path, **options: Unpack[RunOptions]) -> Source:
    from mien.train.export.bundle import export_run

    bundle = export_run(run, data, folder, **options)
    return Source(bundle, sample_of(bundle.spec, data), lambda: inference_model(run, options.get("head", "emotion")))


def _keras_inside(bundle: Bundle) -> Path | None:
    file = bundle.folder / KERAS_FILE
    return file if file.is_file() else None


def _network(bundle: Bundle, file: Path) -> keras.Model:
    from mien.train.export.formats.litert import source_of

    return source_of(bundle, file, demo_crops(bundle.spec, SAME_ON))
