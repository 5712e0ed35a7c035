"""Combines trained runs into one model that answers the mean of their calibrated probabilities.

Source: deep ensembles, Lakshminarayanan et al. 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from mien.bundles import Bundle
from mien.classify import softmax
from mien.errors import DataError, UsageError
from mien.train.data.dataset import Dataset, load
from mien.train.data.splits import FERPLUS_NAMES, asked_of, decided, default_validation
from mien.train.evaluation.calibrate import fit_temperature
from mien.train.evaluation.metrics import accuracy, log_loss
from mien.train.export.bundle import export_model, spec_of
from mien.train.loop.batches import preprocess, to_input
from mien.train.loop.fit import computing_in
from mien.train.loop.trained import inference_model, looks_at_both, mirrored, read_config, rows_of
from mien.train.models import HEADS, head_of, networks_in
from mien.train.models.predict import predict
from mien.train.models.torch_norm import fuse_norms
from mien.train.recipe import Recipe


@dataclass(frozen=True)
class Member:
    """A trained network (chips -> logits), its validation images, and the temperature that calibrates it on them.

    ``source`` is its run folder or its ``.keras`` file.
    """

    source: Path
    recipe: Recipe
    labels: tuple[str, ...]
    model: keras.Model
    validation_rows: NDArray[np.int64]
    temperature: float

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return calibrated probabilities (N, labels) of images, uint8 (N, side, side[, 3])."""
        logits = predict(self.model, to_input(preprocess(np.asarray(images), self.recipe.preprocess)))
        return softmax(logits, self.temperature)


def calibrated(sources: Sequence[str | Path], data: Dataset, head: str = HEADS[0], *, mirror: bool = False) -> list[Member]:
    """Return the networks of the sources, each with the temperature that is fitted on its own validation split.

    Args:
        sources: run folders (their best epoch is used) or ``.keras`` files, which must answer the labels of ``data`` in the same order.
            The file of an ensemble stands for its members.
        data: the data set on which the networks were trained.
        head: the head of the runs to use, as in :func:`mien.train.export.bundle.export_run`.
        mirror: average every network over the chip and its mirror image, even if its recipe does not. A network that already does so
            is not changed.

    Raises:
        BundleError: a file does not hold a network.
        UsageError: there are no sources; a source has other chips or other labels than ``data``; ``data`` has no validation split for a
            file; or the second head of a file is requested.
    """
    if not sources:
        raise UsageError("expected at least one run folder or .keras file")
    answered, truth = asked_of(head, data)
    members = []
    for source in map(Path, sources):
        for recipe, labels, model in _networks(source, data.label_names, head):
            shape = (recipe.size, recipe.size) + ((3,) if recipe.channels == 3 else ())
            if labels != data.label_names or shape != data.images.shape[1:]:
                raise UsageError(
                    f"{source} takes chips of {shape} and knows {', '.join(labels)}; "
                    f"the data has {data.images.shape[1:]} and {', '.join(data.label_names)}"
                )
            rows = _unseen(data, source) if source.suffix == ".keras" else rows_of(source, data)[1]
            rows = decided(rows, truth)
            network = keras.Model(model.input, mirrored(model)) if mirror and not looks_at_both(model) else model
            logits = predict(network, to_input(preprocess(np.asarray(data.images[rows]), recipe.preprocess)))
            members.append(Member(source, recipe, answered, network, rows, fit_temperature(logits, truth[rows])))
    return members


def _networks(source: Path, labels: tuple[str, ...], head: str) -> list[tuple[Recipe, tuple[str, ...], keras.Model]]:
    """Return recipe, labels and network of a run or of each network in a ``.keras`` file."""
    if source.suffix != ".keras":
        recipe, own = read_config(source)
        return [(recipe, own, inference_model(source, head))]
    try:
        networks = [head_of(network, head) for network in networks_in(source)]
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    answers = [tuple(network.output.shape[1:]) for network in networks]
    wanted = len(FERPLUS_NAMES) if head != HEADS[0] else len(labels)
    if answers != [(wanted,)] * len(networks):
        raise UsageError(f"{source} answers {answers[0]} values; the data has the {wanted} labels {', '.join(labels)}")
    size, channels = _chip(networks[0])
    return [(Recipe(name=source.stem, size=size, channels=channels), labels, network) for network in networks]


def _unseen(data: Dataset, source: Path) -> NDArray[np.int64]:
    """Return the validation images of a network in a file, which it was not trained on."""
    if default_validation(data) == "holdout":
        raise UsageError(f"{data.root} has no split 'public' or 'val', so nothing says what {source} has not seen; give its run folder")
    return data.rows(default_validation(data))


def _chip(network: keras.Model) -> tuple[int, Any]:
    """Return (side, channels) of the chips that a network takes."""
    _, _, side, channels = network.inputs[0].shape
    return side, channels


def load_for(source: str | Path, folder: Path, votes: Path | None = None) -> Dataset:
    """Return the data set in ``folder``, with images in the size and channels of the source and with FER+ ``votes`` if they are given.

    Raises:
        BundleError, DataError, TrainingError: the source or the data set cannot be read.
    """
    source = Path(source)
    if source.suffix == ".keras":
        size, channels = _chip(networks_in(source)[0])
    else:
        recipe, _ = read_config(source)
        size, channels = recipe.size, recipe.channels
    return load(folder, size=size, channels=channels, votes=votes)


def combine(members: Sequence[Member], name: str = "ensemble") -> keras.Model:
    """Return one network, chips -> ``logits`` (N, labels). The logits are the logarithm of the mean of the members' probabilities.

    Their softmax is that mean, so the result can replace a single network everywhere.

    Raises:
        UsageError: a member has a preprocessing step, which the graph does not contain.
    """
    if odd := [member for member in members if member.recipe.preprocess != "none"]:
        raise UsageError(
            f"{odd[0].source} was trained with preprocess={odd[0].recipe.preprocess!r}, which is not part of its graph; leave it out"
        )
    chips = keras.Input(members[0].model.input_shape[1:], name="chips")
    log_probabilities = []
    for index, member in enumerate(members):
        network = keras.Model(member.model.input, member.model.output, name=f"member_{index}")
        log_probabilities.append(keras.ops.log_softmax(network(chips) / member.temperature, axis=-1))
    together = keras.ops.logsumexp(keras.ops.stack(log_probabilities, axis=0), axis=0) - float(np.log(len(members)))
    return keras.Model(chips, layers.Identity(name="logits")(together), name=name)


def teacher_of(sources: Sequence[str | Path], data: Dataset, precision: str = "float32") -> keras.Model:
    """Return :func:`combine` of calibrated networks, in a fast form, as the teacher for every batch of a student's training.

    A student that gets the same augmented images as its teacher learns the teacher's function. Soft labels that are computed once also
    contain what the teacher memorised about its training images (Beyer et al. 2022, arXiv:2106.05237).

    Raises:
        BundleError, UsageError: see :func:`calibrated` and :func:`combine`.
    """
    with computing_in(precision):
        model = combine(calibrated(sources, data), "teacher")
    fuse_norms(model)
    return model


def export_ensemble(
    members: Sequence[Member],
    data: Dataset,
    out: Path,
    *,
    head: str = HEADS[0],
    name: str = "ensemble",
    version: str = "1.0",
    target_accuracy: float | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write the bundle of :func:`combine` and return it. Its threshold comes from images on which no member was trained.

    The keywords are those of :func:`mien.train.export.bundle.export_run`. ``head`` must be the head that :func:`calibrated` got.

    Raises:
        UsageError: ``out`` exists, or there is no such image for the threshold.
        ExportError: the graph differs from its source.
    """
    rows = _shared(members)
    chips, (_, truth) = np.asarray(data.images[rows]), asked_of(head, data)
    spec = spec_of(members[0].recipe, members[0].labels, name, version)
    network = combine(members, name)
    return export_model(network, spec, chips, chips, truth[rows], out, target_accuracy=target_accuracy, overwrite=overwrite)


@dataclass(frozen=True)
class Group:
    """A possible ensemble: log loss in nats and accuracy, 0..1, of the mean of its members on ``n`` validation images."""

    members: tuple[Member, ...]
    log_loss: float
    accuracy: float
    n: int


def ranked(members: Sequence[Member], data: Dataset, size: int, *, head: str = HEADS[0]) -> list[Group]:
    """Return every group of ``size`` members, sorted by the log loss on their shared validation images, the lowest first.

    Log loss is used because a few faces change the accuracy, and the choice would then depend on these faces.

    Raises:
        UsageError: ``size`` is not in 1 to ``len(members)``, or the members share no validation image.
    """
    if not 1 <= size <= len(members):
        raise UsageError(f"expected to choose 1 to {len(members)} of the {len(members)} networks, got {size}")
    rows, (_, truth) = _shared(members), asked_of(head, data)
    answers = [member.probabilities(data.images[rows]) for member in members]
    groups = []
    for picked in combinations(range(len(members)), size):
        mean = np.mean([answers[index] for index in picked], axis=0)
        loss, right = log_loss(mean, truth[rows]), accuracy(mean, truth[rows])
        groups.append(Group(tuple(members[index] for index in picked), loss, right, len(rows)))
    return sorted(groups, key=lambda group: group.log_loss)


def _shared(members: Sequence[Member]) -> NDArray[np.int64]:
    """Return the validation images on which no member was trained."""
    rows = members[0].validation_rows
    for member in members[1:]:
        rows = np.intersect1d(rows, member.validation_rows)
    if not len(rows):
        raise UsageError("the members share no validation image; train them with the same --validation split, or with the same seed")
    return rows


def soft_labels(members: Sequence[Member], data: Dataset) -> NDArray[np.float32]:
    """Return the members' mean probabilities (len(data), labels) of every image, as targets for another network.

    Source: distillation, Hinton et al. 2015 (arXiv:1503.02531), at the temperature that calibrates the teachers.
    """
    return np.asarray(np.mean([member.probabilities(data.images) for member in members], axis=0), np.float32)


def write_soft_labels(file: str | Path, values: NDArray[Any], data: Dataset) -> None:
    """Write probabilities (len(data), labels) with the names of images and labels, which :func:`read_soft_labels` matches."""
    with Path(file).open("wb") as out:  # for a name, NumPy would add an ending
        np.savez(out, probabilities=values, names=np.asarray(data.names), labels=np.asarray(data.label_names))


def read_soft_labels(file: str | Path, data: Dataset) -> NDArray[np.float32]:
    """Return what :func:`write_soft_labels` wrote, (len(data), labels), matched to ``data`` by the names of images and labels.

    Raises:
        DataError: the file is missing or has another content, lacks an image of ``data``, or has other labels.
    """
    try:
        with np.load(file, allow_pickle=False) as saved:
            values, names, labels = saved["probabilities"], saved["names"].tolist(), saved["labels"].tolist()
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, BadZipFile) as error:
        raise DataError(f"{file} does not hold soft labels ({error}); mien soft-labels writes them") from None
    if values.shape != (len(names), len(labels)) or not np.allclose(values.sum(1), 1, atol=1e-3):
        raise DataError(f"{file} does not hold soft labels: expected probabilities (N, labels) that sum to 1, got {values.shape}")
    if sorted(labels) != sorted(data.label_names):
        raise DataError(f"{file} has the labels {', '.join(labels)}; the data set has {', '.join(data.label_names)}")
    row = {name: i for i, name in enumerate(names)}
    if missing := [name for name in data.names if name not in row]:
        raise DataError(
            f"{file} lacks {len(missing):,} of the {len(data):,} images, for example {missing[0]}; run mien soft-labels on this data set"
        )
    rows, columns = [row[name] for name in data.names], [labels.index(label) for label in data.label_names]
    return np.asarray(values[rows][:, columns], np.float32)
