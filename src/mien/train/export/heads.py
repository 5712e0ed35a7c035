"""One network with two heads -> three models that share its weights: ``default``, ``fer2013`` and ``ferplus``.

``fer2013`` is the head that learned FER2013's labels, ``ferplus`` the head that learned the votes of FER+'s raters, and ``default`` the mix
of both that :mod:`mien.train.evaluation.operating_point` chooses.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from mien.bundles import Bundle, open_bundle, put_in_place, write_bundle
from mien.classify import Classifier
from mien.contract import FER2013_SIDE, LABELS, InputSpec, template_for
from mien.errors import ExportError, UsageError
from mien.train.data.dataset import Dataset
from mien.train.data.splits import FERPLUS_NAMES, Split, select
from mien.train.evaluation.calibrate import calibrated, calibrated_on_photos
from mien.train.evaluation.operating_point import Evidence, Faces, OperatingPoint, choose, cross_validated, log_shares
from mien.train.export.bundle import to_onnx
from mien.train.export.formats import graphs
from mien.train.loop.batches import to_input
from mien.train.loop.predict import predict
from mien.train.loop.trained import mirrored
from mien.train.models import head_of

PEOPLE, OWN, EIGHT = "default", "fer2013", "ferplus"  # the models, and the outputs of their graph
CHECKED_CHIPS = 512
FERPLUS_ACCURACY = 0.9  # wanted of the certain answers of `ferplus`, whose labels are cleaner than FER2013's
POINT_FILE = "operating_point.json"
MAX_HALF_DIFFERENCE = 0.03  # of a logit, between float32 weights and the same in float16
# The faces that choose: FER+'s eight labels fit the temperature of their head, seven of them and FER2013's choose the point.
VIEWS = (("ferplus-public", FERPLUS_NAMES), ("ferplus7-public", LABELS), ("public", LABELS))


@dataclass(frozen=True)
class Material:
    """What chooses and calibrates: FER2013 with FER+'s votes, and the chips of labelled photos with the people in them."""

    data: Dataset
    photos: Dataset
    photo_split: Split
    people: NDArray[np.str_] | None


def chosen_point(network: keras.Model, material: Material) -> tuple[OperatingPoint, Evidence]:
    """Return the operating point of a network with two heads, and the faces that chose it.

    Args:
        network: chips -> logits, one output per head, named as :func:`mien.train.models.head_of` finds them; mirror images averaged or
            not, as it is to be shipped.
        material: PublicTest and the photos choose; of the training images the votes give the labels' shares.

    Raises:
        UsageError: no votes, or a network with other labels.
    """
    data = material.data
    if data.votes is None:
        raise UsageError("an operating point needs the FER+ votes; add --votes FILE")
    if data.label_names != LABELS:
        raise UsageError(f"expected FER2013 with the labels {', '.join(LABELS)}, got {', '.join(data.label_names)}")
    eight, seven, own = (select(data, name, labels) for name, labels in VIEWS)
    answers = {}
    for name, chips in (("crops", np.asarray(data.images[own.rows])), ("photos", np.asarray(material.photos.images))):
        inputs = to_input(chips)
        answers[name] = tuple(predict(head_of(network, head), inputs).astype(np.float32) for head in ("votes", "emotion"))
    place = {row: i for i, row in enumerate(own.rows.tolist())}
    rows = [place[row] for row in seven.rows.tolist()]
    (votes, plain), (photo_votes, photo_plain) = answers["crops"], answers["photos"]
    found = material.photo_split
    common = tuple(int(i) for i in np.flatnonzero(np.bincount(found.labels, minlength=len(LABELS)) >= found.min_faces))
    evidence = Evidence(
        photos=Faces(photo_votes, photo_plain, found.labels, material.people, common),
        agreed=Faces(votes[rows], plain[rows], seven.labels),
        acted=Faces(votes, plain, own.labels),
    )
    shares = log_shares(data.votes[data.rows("train")], LABELS)
    with_contempt = [place[row] for row in eight.rows.tolist()]
    return choose(evidence, LABELS, shares, (votes[with_contempt], eight.labels)), evidence


def three_heads(network: keras.Model, point: OperatingPoint, name: str) -> keras.Model:
    """Return a network (chips -> ``default``, ``fer2013``, ``ferplus``) on the trunk of one with two heads."""
    own, votes = (head_of(network, head).layers[-1] for head in ("emotion", "votes"))
    a, b, offset = point.linear()
    (own_kernel, own_bias), (votes_kernel, votes_bias) = own.get_weights(), votes.get_weights()
    weights = {
        PEOPLE: [votes_kernel @ a + own_kernel @ b, votes_bias @ a + own_bias @ b + offset],
        OWN: [own_kernel, own_bias],
        EIGHT: [votes_kernel, votes_bias],
    }
    heads = {head: layers.Dense(kernel.shape[1], dtype="float32", name=head) for head, (kernel, _) in weights.items()}
    model = keras.Model(network.input, {head: layer(own.input) for head, layer in heads.items()}, name=name)
    for head, values in weights.items():
        heads[head].set_weights([np.asarray(value, np.float32) for value in values])
    return model


def ship_heads(
    network: keras.Model, material: Material, out: Path, *, name: str, version: str, mirror: bool, people_only: bool = False
) -> tuple[keras.Model, list[Bundle], dict[str, object]]:
    """Write the bundles ``default``, ``fer2013`` and ``ferplus`` into ``out``; return the source, the bundles and the point's record.

    The weights are kept in float16, once, in the folder ``default``; the others name it. Every head is compared with its Keras source.

    Args:
        network: chips -> logits, with both heads, mirror images not averaged.
        material: see :func:`chosen_point`.
        out: the folder of the bundles; folders of these names are replaced.
        name: the name of the network; the models' names in results are those of the heads.
        version: the version of all three models.
        mirror: answer the mean of a chip and its mirror image.
        people_only: write the first model alone, as ``name``, without the other heads in its graph.

    Raises:
        ExportError: a head differs from its source by more than float16 explains.
        UsageError: see :func:`chosen_point`.
    """
    two = {head: head_of(network, head) for head in ("emotion", "votes")}
    both = keras.Model(network.input, {head: one.output for head, one in two.items()})
    asked = keras.Model(both.input, mirrored(both)) if mirror else both
    point, evidence = chosen_point(asked, material)
    source = three_heads(network, point, name)
    if people_only:
        source = keras.Model(source.input, source.get_layer(PEOPLE).output, name=name)
    whole = keras.Model(source.input, mirrored(source)) if mirror else source
    graph = graphs.float16(graphs.float32(to_onnx(whole))).SerializeToString()
    record: dict[str, object] = {
        "schema": "mien-operating-point/1",
        "rule": "the largest mean of five figures: accuracy and mean recall on photos and on PublicTest under FER+'s labels, mean recall "
        "on PublicTest under FER2013's",
        **point.to_dict(),
        "score": evidence.score(point),
        "cross_validated": cross_validated(evidence, point) if material.people is not None else [],
    }
    bundles = []
    with tempfile.TemporaryDirectory(prefix="mien-heads-") as scratch:
        drafts = Path(scratch)
        for head in [PEOPLE] if people_only else [PEOPLE, OWN, EIGHT]:
            labels = FERPLUS_NAMES if head == EIGHT else LABELS
            spec = InputSpec(
                name=name if people_only else head,
                version=version,
                labels=labels,
                chip_size=FER2013_SIDE,
                template=template_for(FER2013_SIDE),
                format="onnx-fp16",
                weights_of="" if head == PEOPLE else PEOPLE,
                output_name="" if people_only else head,
                labelled_by="fer2013" if head == OWN else "ferplus",
            )
            folder = drafts / spec.name
            classifier = Classifier(write_bundle(folder, graph if head == PEOPLE else None, spec))
            _compare(whole, classifier, material, head)
            spec = _calibrated(classifier, material, head)
            write_bundle(folder, None, spec)
            if head == PEOPLE:
                (folder / POINT_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        for folder in sorted(drafts.iterdir(), key=lambda one: one.name != PEOPLE):
            put_in_place(folder, out / folder.name)
            bundles.append(open_bundle(out / folder.name))
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
