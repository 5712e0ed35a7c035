"""The Keras source in models/ is the network behind the shipped default."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.train.batches import to_input

MODELS = Path(__file__).parents[2] / "models"


def test_the_source_and_the_shipped_graph_answer_alike():
    chips = np.random.default_rng(0).integers(0, 256, (32, 48, 48), dtype=np.uint8)
    source = keras.saving.load_model(MODELS / "emotion_recognition.keras")
    both = [keras.ops.convert_to_numpy(source(to_input(side), training=False)) for side in (chips, chips[:, :, ::-1])]
    assert np.mean(both, axis=0) == pytest.approx(Classifier(open_bundle()).logits(chips), abs=1e-4)


def test_the_history_has_every_epoch():
    rows = json.loads((MODELS / "training_history.json").read_text(encoding="utf-8"))
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert max(row["val_accuracy"] for row in rows) > 0.68
