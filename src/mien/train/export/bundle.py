"""Turns a trained run into a bundle. The graph is compared with its Keras source and calibrated before the folder appears."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np
import onnx
from numpy.typing import NDArray

from mien.bundles import Bundle, check_replaceable, open_bundle, put_in_place, write_bundle
from mien.classify import Classifier
from mien.contract import InputSpec, template_for
from mien.errors import ExportError, UsageError
from mien.train.data.dataset import Dataset
from mien.train.data.splits import asked_of, decided
from mien.train.evaluation.calibrate import calibrated
from mien.train.loop.batches import to_input
from mien.train.loop.trained import inference_model, read_config, rows_of
from mien.train.models.predict import predict
from mien.train.recipe import Recipe

OPSET = 18
CHECKED_CHIPS = 1000
TOLERANCE = 1e-4  # largest allowed difference between a Keras logit and the same ONNX logit


def export_run(
    run: Path,
    data: Dataset,
    out: Path,
    *,
    head: str = "emotion",
    name: str | None = None,
    version: str = "1.0",
    target_accuracy: float | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write the bundle of the best epoch of a run, and return it.

    Args:
        run: a folder that :func:`mien.train.loop.fit.fit` wrote.
        data: the data set of the run; training chips check the export, and the validation split sets temperature and threshold.
        out: bundle folder.
        head: ``emotion`` answers the labels of the data set. ``votes`` answers FER+'s labels
            (:data:`mien.train.data.splits.FERPLUS_NAMES`) and is calibrated on the validation images whose raters agreed; ``data`` must
            then hold the votes.
        name: name of the bundle; None takes the name of the recipe.
        version: version of the bundle.
        target_accuracy: wanted accuracy on the validation faces that are kept as certain; see
            :func:`mien.train.evaluation.calibrate.calibrated`.
        overwrite: replace a folder that exists.

    Raises:
        ExportError: the graph differs from its source by more than :data:`TOLERANCE`, or this backend cannot export.
        TrainingError: ``run`` has no finished epoch, or no such head.
        UsageError: ``out`` exists, the data set has other labels than the run, or the head ``votes`` has no votes or none that agree on
            a validation image.
    """
    recipe, labels = read_config(run)
    if labels != data.label_names:
        raise UsageError(f"the run was trained on {', '.join(labels)}; the data set has {', '.join(data.label_names)}")
    if recipe.preprocess != "none":
        raise ExportError(
            f"the runtime has no {recipe.preprocess!r} step, so a model trained on it cannot be exported; train with preprocess='none'"
        )
    model = inference_model(run, head)
    train_rows, val_rows = rows_of(run, data)
    labels, truth = asked_of(head, data)
    val_rows = decided(val_rows, truth)
    spec = spec_of(recipe, labels, name or recipe.name, version)
    checked = _spread(data, train_rows, CHECKED_CHIPS)
    chips = np.asarray(data.images[val_rows])
    return export_model(model, spec, checked, chips, truth[val_rows], out, target_accuracy=target_accuracy, overwrite=overwrite)


def export_model(
    model: keras.Model,
    spec: InputSpec,
    checked: NDArray[np.uint8],
    chips: NDArray[np.uint8],
    truth: NDArray[np.int64],
    out: Path,
    *,
    target_accuracy: float | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write the bundle of a network (chips -> ``logits``) and return it.

    Args:
        model: the Keras source.
        spec: its input and its labels; this function sets temperature and threshold.
        checked: chips on which the exported graph must agree with ``model``, uint8 (N, S, S[, 3]).
        chips: images that calibrate the model; they must not have been used in training.
        truth: label indices of ``chips``.
        out: bundle folder; it appears whole or not at all.
        target_accuracy: wanted accuracy on the calibration images that are kept as certain.
        overwrite: replace a folder that exists.

    Raises:
        ExportError, UsageError: see :func:`export_run`.
    """
    check_replaceable(out, overwrite)
    graph = to_onnx(model)
    with tempfile.TemporaryDirectory(prefix="mien-export-") as scratch:
        draft = Path(scratch) / "bundle"
        classifier = Classifier(write_bundle(draft, graph, spec))
        compare(model, classifier, checked)
        write_bundle(draft, graph, calibrated(spec, classifier.logits(chips), truth, target_accuracy))
        put_in_place(draft, out)
    return open_bundle(out)


def spec_of(recipe: Recipe, labels: tuple[str, ...], name: str, version: str) -> InputSpec:
    """Return the spec of a network that ``recipe`` trained. It is not calibrated yet."""
    return InputSpec(
        name=name,
        version=version,
        labels=labels,
        chip_size=recipe.size,
        channels=recipe.channels,
        template=template_for(recipe.size),
    )


def to_onnx(model: keras.Model) -> bytes:
    """Return the ONNX form of a network with one input, named ``chips``.

    A single output is named ``logits``. Several outputs have the names of the network's dictionary.

    Raises:
        ExportError: the backend of Keras is not TensorFlow; only TensorFlow's exporter is exact.
    """
    require_tensorflow()
    shape = model.input.shape
    model(np.zeros((1, *shape[1:]), np.float32))  # Keras exports only a model that has been called
    with tempfile.TemporaryDirectory(prefix="mien-onnx-") as scratch:
        file = Path(scratch) / "model.onnx"
        signature = [keras.InputSpec(shape=(None, *shape[1:]), dtype="float32", name="chips")]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)  # Keras's check of tf2onnx causes it
            model.export(file, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET)
        proto = onnx.load(file)
    (given,) = proto.graph.input
    # Keras sorts the outputs of a dictionary by name, and its exporter keeps that order.
    names = sorted(model.output) if isinstance(model.output, dict) else ["logits"]
    _rename(proto.graph, {given.name: "chips", **dict(zip([answer.name for answer in proto.graph.output], names, strict=True))})
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def require_tensorflow() -> None:
    """Raise ExportError if the backend of Keras is not TensorFlow, because only TensorFlow's exporters are exact."""
    if keras.backend.backend() != "tensorflow":
        raise ExportError(f"export needs Keras on TensorFlow, this is {keras.backend.backend()}; run it with KERAS_BACKEND=tensorflow")


def compare(model: keras.Model, classifier: Classifier, chips: NDArray[np.uint8]) -> float:
    """Return the largest difference between the logits of the network and of its export on ``chips``.

    Raises:
        ExportError: the difference is above :data:`TOLERANCE`.
    """
    source = predict(model, to_input(chips))
    difference = float(np.abs(source - classifier.logits(chips)).max())
    if difference > TOLERANCE:
        raise ExportError(
            f"the exported graph differs from its source by {difference:.2g} on {len(chips)} chips; at most {TOLERANCE:.0e} is allowed"
        )
    return difference


def _spread(data: Dataset, rows: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    picked = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    return np.stack([data.images[i] for i in picked])


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
