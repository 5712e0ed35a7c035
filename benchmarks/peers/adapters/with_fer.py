"""fer: mini-Xception on grey 64x64 faces in -1..1; Haar cascade."""

import cv2
import numpy as np
from fer.fer import FER
from protocol import run


class Fer:
    gives_probabilities = True
    labels = tuple(FER._get_labels()[i] for i in range(7))

    def __init__(self, options):
        self._fer = FER(use_tflite=options["engine"] == "tflite")

    def classify(self, crops):
        # The steps of detect_emotions after its cropping, which adds 10 px around a detected box. A FER2013 crop already has this margin.
        faces = np.array([cv2.resize(crop, (64, 64)) for crop in crops], "float32") / 255.0
        faces = (faces - 0.5) * 2.0
        return np.asarray(self._fer._classify_emotions(faces if self._fer.use_tflite else faces[..., None]))

    def prepare(self, frame_rgb):
        return np.ascontiguousarray(frame_rgb[..., ::-1])

    def analyze(self, photo):
        return self._fer.detect_emotions(photo)

    def faces(self, photo):
        for face in self.analyze(photo):
            x, y, w, h = face["box"]
            yield (x, y, x + w, y + h), [face["emotions"][label] for label in self.labels]


run(Fer)
