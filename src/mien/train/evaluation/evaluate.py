"""Measures a model on labelled faces: the shipped file in the runtime, or its Keras source, under one protocol."""

from __future__ import annotations

import csv
import importlib.util
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien import __version__
from mien.atomic import atomic_write
from mien.bundles import SPEC_FILE, Bundle, open_bundle
from mien.classify import Classifier, softmax
from mien.contract import LABELS, InputSpec, template_for
from mien.errors import DataError, UsageError
from mien.train.data.dataset import Dataset, describe, fingerprint
from mien.train.data.splits import FERPLUS_NAMES, VIEWS, Split
from mien.train.evaluation import metrics
from mien.train.evaluation.groups import Strings, by_group
from mien.train.evaluation.size import graph_size
from mien.train.loop.run_folder import is_run

SCHEMA = "mien-metrics/1"
PROTOCOL = (
    "The model answers each face once, as it ships (averaging over mirror images, where the graph does that, is part of it). "
    "{chosen} Intervals are 95 %."
)
CHOSEN_ON_FER2013 = "Epoch, temperature and the 'uncertain' threshold were chosen on PublicTest, nothing on PrivateTest."
CHOSEN_ON_PHOTOS = (
    "Of the models in the package, PublicTest chose the epoch, and PublicTest and the photo set of docs/evaluation.md chose the operating "
    "point, the temperature and the 'uncertain' threshold; PrivateTest chose nothing."
)
CHOSEN_ELSEWHERE = "Epoch, temperature and the 'uncertain' threshold are those that the model came with."
AGREEMENT = ("all raters", "eight or nine of ten", "seven of ten or fewer")
CHUNK = 1024  # faces per call of the model


class Model(Protocol):
    """Any object that gives logits for chips, such as :class:`mien.classify.Classifier`."""

    spec: InputSpec

    def logits(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return raw logits (N, labels) for chips, uint8 (N, S, S) or (N, S, S, 3)."""
        ...


class KerasModel:
    """The Keras source of a run: its best epoch, with temperature and threshold of the run's bundle if that has the same labels."""

    def __init__(self, run: Path) -> None:
        """Build the network.

        Raises:
            TrainingError: ``run`` is not a run folder, or has no finished epoch.
        """
        from mien.train.loop.trained import inference_model, read_config

        self._recipe, labels = read_config(run)
        self._model = inference_model(run)
        bundle = run / "bundle" / SPEC_FILE
        size = self._recipe.size
        self.spec = InputSpec(self._recipe.name, "keras", labels, size, self._recipe.channels, template=template_for(size))
        if bundle.is_file() and (spec := InputSpec.read(bundle)).labels == labels:  # a bundle of the other head has other labels
            self.spec = spec

    def logits(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return raw logits (N, labels), with the recipe's preprocessing."""
        from mien.train.loop.batches import preprocess, to_input
        from mien.train.models.predict import predict

        return predict(self._model, to_input(preprocess(chips, self._recipe.preprocess))).astype(np.float32)


def open_model(name_or_path: str | Path, *, keras: bool = False, threads: int | None = None) -> Model:
    """Return the shipped file that :func:`find_bundle` finds. With ``keras``, return the Keras source of a run.

    Raises:
        UsageError: ``keras`` is set and this is not a run, or the run is not exported.
        BundleError, TrainingError: see :func:`find_bundle` and :class:`KerasModel`.
    """
    if keras:
        if not is_run(Path(name_or_path)):
            raise UsageError(f"--keras evaluates the source of a run folder; {name_or_path} is not one")
        return KerasModel(Path(name_or_path))
    return Classifier(find_bundle(name_or_path), threads=threads)


def find_bundle(name_or_path: str | Path) -> Bundle:
    """Return a shipped bundle by its name, a bundle by its folder, or the bundle in the folder ``bundle`` of a run.

    Raises:
        UsageError: the run is not exported.
        BundleError: see :func:`mien.bundles.open_bundle`.
    """
    run = Path(name_or_path)
    if not is_run(run):
        return open_bundle(name_or_path)
    if not (run / "bundle" / SPEC_FILE).is_file():
        raise UsageError(f"{run} is a run without a bundle; run 'mien export {run} --out {run}/bundle --data DIR' first, or add --keras")
    return open_bundle(run / "bundle")


@dataclass(frozen=True)
class Evaluation:
    """The answers of a model and its metrics.

    ``rows`` (M,) are the evaluated images of the data set, in ascending order. ``logits`` (M, labels) are their logits. ``metrics`` is the
    content of metrics.json.
    """

    spec: InputSpec
    splits: tuple[Split, ...]
    rows: NDArray[np.int64]
    logits: NDArray[np.float32]
    metrics: dict[str, Any]

    def logits_of(self, split: Split) -> NDArray[np.float32]:
        """Return the logits (len(split), labels) of the faces of one split."""
        return self.logits[np.searchsorted(self.rows, split.rows)]

    def probabilities_of(self, split: Split) -> NDArray[np.float64]:
        """Return calibrated probabilities (len(split), labels of the split).

        A label that the model lacks gets 0. A label that the split lacks is left out, and the others share its probability.
        """
        return _fitted(self.logits_of(split), self.spec, split, self.spec.temperature)


def evaluate(model: Model, data: Dataset, splits: Sequence[Split], groups: dict[str, Strings] | None = None) -> Evaluation:
    """Return the figures of ``model`` on each split. An image in several splits is classified once.

    Args:
        model: what answers.
        data: images with the model's size and channels.
        splits: from :func:`mien.train.data.splits.select`.
        groups: groupings of all images of ``data`` and, after these, of the split's ``missing`` pictures, from
            :func:`mien.train.evaluation.groups.read_groups`.

    Raises:
        DataError: a grouping has no group for any evaluated face.
    """
    began = time.perf_counter()
    rows = np.unique(np.concatenate([split.rows for split in splits]))
    logits = np.concatenate([model.logits(np.asarray(data.images[rows[i : i + CHUNK]])) for i in range(0, len(rows), CHUNK)])
    seconds = time.perf_counter() - began
    spec = model.spec
    result = Evaluation(spec, tuple(splits), rows, logits, {})
    figures = {split.name: _figures(result, split, data) for split in splits}
    for column, values in (groups or {}).items():
        grouped = [split for split in splits if (values[split.rows] != "").any()]
        if not grouped:
            raise DataError(f"no evaluated face has a {column!r}; check the 'file' column of the groups")
        for split in grouped:
            missing = values[len(data) :] if split.missing else None
            row = by_group(result.probabilities_of(split), split.labels, values[split.rows], missing=missing)
            figures[split.name].setdefault("by_group", {})[column] = row
    result.metrics.update(
        schema=SCHEMA,
        mien=__version__,
        model={
            "name": spec.name,
            "version": spec.version,
            "source": "keras" if isinstance(model, KerasModel) else spec.engine,
            "sha256": spec.model_sha256,
            "labels": list(spec.labels),
            "labelled_by": spec.labelled_by,
            "temperature": spec.temperature,
            "uncertain_below": spec.uncertain_below,
            **_size(model),
        },
        data={"fingerprint": fingerprint(data), "images": describe(data)},
        protocol=PROTOCOL.format(chosen=_chosen(spec, data)),
        seconds=round(seconds, 2),
        ms_a_face=round(1000 * seconds / len(rows), 3),
        splits=figures,
    )
    return result


def write_metrics(evaluation: Evaluation, file: Path) -> None:
    """Write metrics.json."""
    with atomic_write(file) as draft:
        draft.write_text(json.dumps(evaluation.metrics, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_predictions(evaluation: Evaluation, data: Dataset, folder: Path) -> list[Path]:
    """Write one row per image to predictions.csv, and to predictions.parquet if pyarrow is installed. Return the files.

    Columns: file, split, label (in the first evaluated split that holds the image), predicted, confidence, uncertain, correct, and the
    calibrated probability of each label.
    """
    spec = evaluation.spec
    p = softmax(evaluation.logits, spec.temperature)
    confidence = p.max(1)
    predicted = np.array(spec.labels)[p.argmax(1)]
    label = np.full(len(evaluation.rows), "", object)
    for split in reversed(evaluation.splits):
        label[np.searchsorted(evaluation.rows, split.rows)] = np.array(split.label_names)[split.labels]
    columns: dict[str, list[Any]] = {
        "file": [data.names[row] for row in evaluation.rows],
        "split": data.splits[evaluation.rows].tolist(),
        "label": label.tolist(),
        "predicted": predicted.tolist(),
        "confidence": confidence.tolist(),
        "uncertain": (confidence < spec.uncertain_below).tolist(),
        "correct": (predicted == label).tolist(),
        **{name: p[:, i].tolist() for i, name in enumerate(spec.labels)},
    }
    files = [folder / "predictions.csv"]
    with files[0].open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    if importlib.util.find_spec("pyarrow"):
        import pyarrow
        import pyarrow.parquet

        files.append(folder / "predictions.parquet")
        pyarrow.parquet.write_table(pyarrow.table(columns), files[1])
    return files


def joined(first: Evaluation, second: Evaluation) -> dict[str, Any]:
    """Return the metrics of two evaluations of one model in one record. The splits of ``first`` come before those of ``second``."""
    a, b = first.metrics, second.metrics
    seconds = a["seconds"] + b["seconds"]
    faces = len(first.rows) + len(second.rows)
    splits = {**a["splits"], **b["splits"]}
    data = {**b["data"], "photos": a["data"]}
    return {**a, **b, "data": data, "seconds": round(seconds, 2), "ms_a_face": round(1000 * seconds / faces, 3), "splits": splits}


def _chosen(spec: InputSpec, data: Dataset) -> str:
    """Return the sentence that says which images chose the model's epoch, temperature and threshold."""
    if spec.labelled_by == "ferplus" and set(spec.labels) == set(LABELS):
        return CHOSEN_ON_PHOTOS
    return CHOSEN_ON_FER2013 if data.is_fer2013 else CHOSEN_ELSEWHERE


def _figures(evaluation: Evaluation, split: Split, data: Dataset) -> dict[str, Any]:
    p = evaluation.probabilities_of(split)
    plain = _fitted(evaluation.logits_of(split), evaluation.spec, split, 1.0)
    missing = [one.label for one in split.missing]
    threshold = evaluation.spec.uncertain_below
    figures: dict[str, Any] = {"title": split.title, **metrics.summary(p, split.labels, split.label_names, missing, split.min_faces)}
    figures["uncalibrated"] = {
        "log_loss": metrics.log_loss(plain, split.labels),
        "ece": metrics.ece(plain, split.labels),
        "reliability": _reliability(plain, split.labels),
    }
    figures["kept"] = metrics.selective_accuracy(p, split.labels, threshold, len(missing))
    figures["kept_by_label"] = metrics.kept_by_label(p, split.labels, split.label_names, threshold, missing)
    if split.missing:
        figures["without_answer"] = [{"file": one.file, "reason": one.reason} for one in split.missing]
    figures["reliability"] = _reliability(p, split.labels)
    figures["risk_coverage"] = _risk_coverage(p, split.labels)
    if not set(split.label_names) <= set(evaluation.spec.labels):
        # For a label with probability 0, the log loss depends on the clipping and not on the model.
        figures["log_loss"] = figures["uncalibrated"]["log_loss"] = None
    if split.name in VIEWS and data.votes is not None:
        agreement, hits = _agreement(data.votes[split.rows]), p.argmax(1) == split.labels
        figures["by_agreement"] = {
            name: {
                "n": int((agreement == name).sum()),
                "accuracy": metrics.share(int(hits[agreement == name].sum()), int((agreement == name).sum())),
            }
            for name in AGREEMENT
            if (agreement == name).any()
        }
    return figures


def _size(model: Model) -> dict[str, Any]:
    """Return {size}: the bytes of a shipped file and, for ONNX, parameters and multiply-adds. Return {} for a Keras source."""
    if not isinstance(model, Classifier):
        return {}
    files = model.bundle.model_files
    return {"size": graph_size(files[0]) if model.spec.engine == "onnx" else {"bytes": sum(file.stat().st_size for file in files)}}


def _reliability(p: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, list[Any]]:
    """Return {n, confidence, accuracy} of each bin that holds a face, from low to high."""
    bins = metrics.reliability(p, labels)
    used = bins.count > 0
    return {"n": bins.count[used].tolist(), "confidence": bins.confidence[used].tolist(), "accuracy": bins.accuracy[used].tolist()}


def _risk_coverage(p: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, list[float]]:
    """Return {coverage, accuracy} of the curve at 20 evenly spaced coverages. The first points have too few faces and are left out."""
    curve = metrics.risk_coverage(p, labels)
    at = np.unique(np.searchsorted(curve.coverage, np.linspace(0.05, 1, 20) - 1e-9))
    return {"coverage": curve.coverage[at].tolist(), "accuracy": (1 - curve.risk[at]).tolist()}


def _agreement(votes: NDArray[np.float32]) -> Strings:
    """Return how many raters gave the majority label of each face (N,), as the name of a group."""
    share = votes[:, : len(FERPLUS_NAMES)].max(1) / votes.sum(1)
    return np.select([share > 0.95, share > 0.75], AGREEMENT[:2], AGREEMENT[2])


def _fitted(logits: NDArray[np.float32], spec: InputSpec, split: Split, temperature: float) -> NDArray[np.float64]:
    """Return probabilities (N, labels of the split) from logits (N, labels of the model)."""
    shared = [label for label in split.label_names if label in spec.labels]
    p = softmax(logits[:, [spec.labels.index(label) for label in shared]], temperature)
    out = np.zeros((len(p), len(split.label_names)))
    out[:, [split.label_names.index(label) for label in shared]] = p
    return out
