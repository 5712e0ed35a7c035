"""Trains a model with your own labels: a folder of classes, a recipe, a bundle, an answer. Needs the extra train.

    python examples/own_labels.py faces/ bundle/ 40

``faces/train/<label>/*.png`` trains the model, and ``faces/val/<label>/*.png`` chooses the epoch. The last argument is the
number of epochs.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # only this backend can export

from mien.classify import Classifier
from mien.train.data.dataset import load
from mien.train.export.bundle import export_run
from mien.train.loop.fit import fit
from mien.train.recipe import Recipe

if len(sys.argv) < 4:
    sys.exit(__doc__)
faces, bundle, epochs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
data = load(faces)
recipe = Recipe.load("nano", **{"epochs": epochs, "batch_size": 16, "loss.votes_weight": 0.0})
with tempfile.TemporaryDirectory() as run:
    fit(recipe, data, run, on_epoch=lambda row: print(f"epoch {row['epoch']}: {row['val_accuracy']:.2f} right"))
    classifier = Classifier(export_run(Path(run), data, bundle, name="own-labels"))

first = data.rows("val")[:4]
for row, probabilities in zip(first, classifier.probabilities(data.images[first]), strict=True):
    answer = classifier.emotions(probabilities)
    print(f"{data.names[row]}: {answer.top} {answer.confidence:.2f}{' (not sure)' if classifier.is_uncertain(answer) else ''}")
