"""Mien, installed from this checkout like any other package."""

import numpy as np
from protocol import run

from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.pipeline import Pipeline


class Mien:
    gives_probabilities = True

    def __init__(self, options):
        bundle = open_bundle(options["model"])
        self._classifier = Classifier(bundle, threads=1)
        self._pipeline = Pipeline(classifier=self._classifier, threads=1)
        self._spec = bundle.spec
        self.labels = bundle.spec.labels

    def classify(self, crops):
        if crops.shape[1] != self._spec.chip_size:
            raise SystemExit(f"this model takes chips of {self._spec.chip_size} px, the crops have {crops.shape[1]}")
        return self._classifier.probabilities(np.repeat(crops[..., None], 3, -1) if self._spec.channels == 3 else crops)

    def prepare(self, frame_rgb):
        return frame_rgb

    def analyze(self, photo):
        return self._pipeline.analyze(photo)

    def faces(self, photo):
        return [(face.box_xyxy, [face.emotions[label] for label in self.labels]) for face in self.analyze(photo).faces]


run(Mien)
