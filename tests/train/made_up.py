"""A small made-up FER2013 whose labels are levels of brightness, and a model that knows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mien.bundles import Bundle, write_bundle
from mien.contract import LABELS, InputSpec
from mien.train.data.dataset import VOTE_COLUMNS, VOTE_LABELS, Dataset, load
from mien.train.data.splits import ALL, select
from mien.train.evaluation.evaluate import Evaluation, evaluate, open_model
from mien.train.evaluation.robustness import robustness


def chip(label: int, seed: int, spread: float = 0.3, side: int = 48) -> np.ndarray:
    """Return a noisy grey chip (side, side) whose mean brightness belongs to a label, give or take ``spread`` of a level."""
    rng = np.random.default_rng([label, seed])
    level = (label + 0.5 + rng.normal(0, spread)) / len(LABELS)
    return np.clip(255 * level + rng.normal(0, 6, (side, side)), 0, 255).astype(np.uint8)


def write(root: Path, folder: str, label: str, name: str, pixels: np.ndarray) -> None:
    file = root / folder / label / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def fer2013(root: Path, train: int = 4, test: int = 12) -> Path:
    """Write a data set with ``train`` training images and ``test`` images of each test split a label; return its folder.

    The first PrivateTest image of every label is a copy of a training image.
    """
    for k, label in enumerate(LABELS):
        for i in range(train):
            write(root, "train", label, f"Training_{i}", chip(k, i))
        for i in range(test):
            write(root, "test", label, f"PublicTest_{i}", chip(k, 1000 + i))
            write(root, "test", label, f"PrivateTest_{i}", chip(k, 2000 + i if i else 0))
    return root


def votes(root: Path, file: Path) -> Path:
    """Write FER+ votes that agree with the labels, seven raters of ten; PrivateTest_1 is "contempt" and PrivateTest_2 undecided."""
    rows = ["file," + ",".join(VOTE_COLUMNS)]
    for image in sorted(root.glob("*/*/*.png")):
        counts = [0] * len(VOTE_COLUMNS)
        counts[7 if image.stem == "PrivateTest_1" else VOTE_LABELS[image.parent.name]] = 5 if image.stem == "PrivateTest_2" else 7
        counts[8] = 10 - sum(counts)
        rows.append(f"{image.relative_to(root)},{','.join(map(str, counts))}")
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def brightness_bundle(folder: Path, labels: Sequence[str] = LABELS, sharpness: float = 300, shift: float = 0, **spec: object) -> Bundle:
    """Write a bundle that answers the label whose brightness is nearest.

    A larger ``sharpness`` makes it surer of itself; ``shift``, in levels, makes it wrong on the faces between two levels.
    """
    levels = (np.arange(len(labels)) + 0.5 + shift) / len(labels)
    weights = np.tile(levels * sharpness / (255 * 48 * 48), (48 * 48, 1)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["chips"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        ],
        "brightness",
        [helper.make_tensor_value_info("chips", TensorProto.FLOAT, ["n", 48, 48, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(labels)])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array((-sharpness * levels**2 / 2).astype(np.float32), "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    values = {"name": "brightness", "version": "0.1", "labels": tuple(labels), "uncertain_below": 0.6, **spec}
    return write_bundle(folder, model.SerializeToString(), InputSpec(**values))


def story(root: Path) -> tuple[Evaluation, Dataset]:
    """Return an evaluation with everything in it, and its data: all splits, groups and robustness."""
    faces = load(fer2013(root / "data"), votes=votes(root / "data", root / "votes.csv"), cache=root / "cache")
    brightness_bundle(root / "model", temperature=1.5)
    model = open_model(root / "model")
    splits = [select(faces, name, LABELS) for name in ALL]
    tone = {"<tone>": np.where(faces.labels < 3, "dark & dim", "light")}
    result = evaluate(model, faces, splits, tone)
    result.metrics["robustness"] = robustness(model, faces, splits[0], faces=30)
    return result, faces
