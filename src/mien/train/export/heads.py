"""Turns a network with two heads into three models that share its weights: ``default``, ``fer2013`` and ``ferplus``.

``fer2013`` is the head that learned FER2013's labels. ``ferplus`` is the head that learned the votes of FER+'s raters. ``default`` is the
mix of both that :mod:`mien.train.evaluation.operating_point` chooses.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from mien.bundles import Bundle, open_bundle, put_in_place, write_bundle
from mien.classify import Classifier
from mien.contract import LABELS, InputSpec, template_for
from mien.errors import ExportError, UsageError
from mien.train.data.dataset import Dataset
from mien.train.data.splits import FERPLUS_NAMES, Split, select
from mien.train.evaluation.calibrate import calibrated, calibrated_on_photos, fit_temperature
from mien.train.evaluation.operating_point import Evidence, Faces, OperatingPoint, best_on_grid, cross_validated, log_shares
from mien.train.export.bundle import to_onnx
from mien.train.export.formats import graphs
from mien.train.loop.batches import to_input
from mien.train.loop.trained import mirrored
from mien.train.models import head_of
from mien.train.models.predict import predict

PEOPLE, OWN, EIGHT = "default", "fer2013", "ferplus"  # names of the models and of the outputs of their graph
CHECKED_CHIPS = 512
FERPLUS_ACCURACY = 0.9  # target for the certain answers of `ferplus`, whose labels are cleaner than FER2013's
POINT_FILE = "operating_point.json"
MAX_HALF_DIFFERENCE = 0.03  # of a logit, between float32 weights and the same weights in float16
# FER+'s eight labels fit the temperature of their head. Seven of them and FER2013's labels choose the point.
VIEWS = (("ferplus-public", FERPLUS_NAMES), ("ferplus7-public", LABELS), ("public", LABELS))


@dataclass(frozen=True)
class Material:
    """The data that chooses and calibrates: FER2013 with FER+'s votes, and chips of labelled photos with the people in them."""

    data: Dataset
    photos: Dataset
    photo_split: Split
    people: NDArray[np.str_] | None


def chosen_point(network: keras.Model, material: Material) -> tuple[OperatingPoint, Evidence]:
    """Return the operating point of a network and the faces that chose it.

    Args:
        network: chips -> logits of one head or two heads, as :func:`mien.train.models.head_of` finds them. Whether it averages over
            mirror images must be as in the shipped model.
        material: PublicTest and the photos choose the point; the votes on training images give the shares of the labels.

    Raises:
        UsageError: there are no votes, or the data has other labels than FER2013's.
    """
    data = material.data
    if data.votes is None:
        raise UsageError("an operating point needs the FER+ votes; add --votes FILE")
    if data.label_names != LABELS:
        raise UsageError(f"expected FER2013 with the labels {', '.join(LABELS)}, got {', '.join(data.label_names)}")
    eight, seven, own = (select(data, name, labels) for name, labels in VIEWS)
    answers = []
    for images in (data.images[own.rows], material.photos.images):
        inputs = to_input(np.asarray(images))
        of_own = predict(head_of(network, "emotion"), inputs)
        of_votes = predict(head_of(network, "votes"), inputs) if has_votes(network) else np.zeros((len(of_own), len(FERPLUS_NAMES)))
        answers.append((of_votes.astype(np.float32), of_own.astype(np.float32)))
    (votes, plain), (photo_votes, photo_plain) = answers
    place = {row: i for i, row in enumerate(own.rows.tolist())}
    rows = [place[row] for row in seven.rows.tolist()]
    found = material.photo_split
    common = tuple(int(i) for i in np.flatnonzero(np.bincount(found.labels, minlength=len(LABELS)) >= found.min_faces))
    evidence = Evidence(
        photos=Faces(photo_votes, photo_plain, found.labels, material.people, common or None),
        agreed=Faces(votes[rows], plain[rows], seven.labels),
        acted=Faces(votes, plain, own.labels),
    )
    train = data.rows("train")
    counts = np.bincount(data.labels[train], minlength=len(LABELS))
    start = OperatingPoint(
        labels=LABELS,
        tau=0.0,
        share=0.0 if has_votes(network) else 1.0,
        votes_temperature=fit_temperature(votes[[place[row] for row in eight.rows.tolist()]], eight.labels) if has_votes(network) else 1.0,
        own_temperature=fit_temperature(plain, own.labels),
        log_shares=log_shares(data.votes[train], LABELS),
        own_log_shares=None if has_votes(network) else tuple(np.log(counts / counts.sum()).tolist()),
    )
    return best_on_grid(evidence, start), evidence


def has_votes(network: keras.Model) -> bool:
    """Return whether a network has the head that learned FER+'s votes."""
    return len(network.outputs) > 1 and bool({"votes", EIGHT} & set(network.output))


def with_point(network: keras.Model, point: OperatingPoint, name: str) -> keras.Model:
    """Return a network (chips -> ``default``, ``fer2013`` and, where ``network`` has it, ``ferplus``) on the trunk of ``network``."""
    own = _dense(head_of(network, "emotion"))
    a, b, offset = point.linear()
    own_kernel, own_bias = own.get_weights()
    weights = {PEOPLE: [own_kernel @ b, own_bias @ b + offset], OWN: [own_kernel, own_bias]}
    if has_votes(network):
        votes_kernel, votes_bias = _dense(head_of(network, "votes")).get_weights()
        weights[PEOPLE] = [weights[PEOPLE][0] + votes_kernel @ a, weights[PEOPLE][1] + votes_bias @ a]
        weights[EIGHT] = [votes_kernel, votes_bias]
    heads = {head: layers.Dense(kernel.shape[1], dtype="float32", name=head) for head, (kernel, _) in weights.items()}
    model = keras.Model(network.input, {head: layer(own.input) for head, layer in heads.items()}, name=name)
    for head, values in weights.items():
        heads[head].set_weights([np.asarray(value, np.float32) for value in values])
    return model


def _dense(network: keras.Model) -> layers.Dense:
    """Return the last dense layer, which gives the logits."""
    return [layer for layer in network.layers if isinstance(layer, layers.Dense)][-1]


def ship_heads(
    network: keras.Model, material: Material, out: Path, *, model: str = PEOPLE, version: str, mirror: bool
) -> tuple[keras.Model, list[Bundle], dict[str, Any]]:
    """Write the bundles of a network into ``out``. Return its Keras source, the bundles and the record of the operating point.

    For the name ``default``, it writes three bundles: ``default``, ``fer2013`` and ``ferplus``. The folder ``default`` stores the weights
    once, in float16, and the other bundles refer to it. For another name, it writes one bundle, which answers as ``default`` does. Every
    output is compared with its Keras source.

    Args:
        network: chips -> logits, with one head or two heads, without averaging over mirror images.
        material: see :func:`chosen_point`.
        out: the folder for the bundles; existing folders of the bundles are replaced.
        model: the name of the first bundle.
        version: the version of the models.
        mirror: average the answer over the chip and its mirror image.

    Raises:
        ExportError: an output differs from its source by more than float16 explains.
        UsageError: see :func:`chosen_point`; or the name is ``default`` and the network has one head.
    """
    heads = (PEOPLE, OWN, EIGHT) if model == PEOPLE else (PEOPLE,)
    if model == PEOPLE and not has_votes(network):
        raise UsageError("the default needs a network with both heads; train one with FER+ votes (loss.votes_weight above 0)")
    asked = keras.Model(network.input, mirrored(network)) if mirror else network
    point, evidence = chosen_point(asked, material)
    source = with_point(network, point, f"{model}_network")  # a layer already has the plain name
    answering = source if len(heads) > 1 else keras.Model(source.input, source.output[PEOPLE])
    whole = keras.Model(answering.input, mirrored(answering)) if mirror else answering
    graph = graphs.float16(graphs.float32(to_onnx(whole))).SerializeToString()
    record: dict[str, Any] = {
        "schema": "mien-operating-point/1",
        "rule": "the largest mean of five figures: accuracy and mean recall on photos and on PublicTest under FER+'s labels, mean recall "
        "on PublicTest under FER2013's",
        **point.to_dict(),
        "score": evidence.score(point),
        "cross_validated": cross_validated(evidence, point) if material.people is not None else [],
    }
    bundles = []
    with tempfile.TemporaryDirectory(prefix="mien-heads-") as scratch:
        for head in heads:
            spec = InputSpec(
                name=model if head == PEOPLE else head,
                version=version,
                labels=FERPLUS_NAMES if head == EIGHT else LABELS,
                chip_size=network.input.shape[1],
                template=template_for(network.input.shape[1]),
                format="onnx-fp16",
                weights_of="" if head == PEOPLE else PEOPLE,
                output_name=head if len(heads) > 1 else "",
                labelled_by="fer2013" if head == OWN else "ferplus",
            )
            folder = Path(scratch) / spec.name
            classifier = Classifier(write_bundle(folder, graph if head == PEOPLE else None, spec))
            _compare(whole, classifier, material, head)
            write_bundle(folder, None, _calibrated(classifier, material, head))
            if head == PEOPLE:
                (folder / POINT_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        for name in (model, *heads[1:]):
            put_in_place(Path(scratch) / name, out / name)
            bundles.append(open_bundle(out / name))
    return source, bundles, record


def _calibrated(classifier: Classifier, material: Material, head: str) -> InputSpec:
    def answers(split: Split) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return classifier.logits(np.asarray(material.data.images[split.rows])), split.labels

    eight, seven, own = (select(material.data, name, labels) for name, labels in VIEWS)
    if head == OWN:
        return calibrated(classifier.spec, *answers(own))
    if head == EIGHT:
        return calibrated(classifier.spec, *answers(eight), FERPLUS_ACCURACY)
    photos = classifier.logits(np.asarray(material.photos.images)), material.photo_split.labels
    return calibrated_on_photos(classifier.spec, [answers(seven)], photos)


def _compare(network: keras.Model, classifier: Classifier, material: Material, head: str) -> None:
    rows = material.data.rows("train")
    chips = np.asarray(material.data.images[np.sort(rows[:: max(1, len(rows) // CHECKED_CHIPS)])])
    wanted = predict(network, to_input(chips), head if len(network.outputs) > 1 else None)
    difference = float(np.abs(wanted - classifier.logits(chips)).max())
    if difference > MAX_HALF_DIFFERENCE:
        raise ExportError(f"the output {head!r} differs from its source by {difference:.2g}; at most {MAX_HALF_DIFFERENCE} is allowed")
