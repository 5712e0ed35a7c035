"""facex: a TFLite network on 200x200 faces in 0..1; Haar cascade."""

import numpy as np
from facex.core import PoolManager
from protocol import run

WORDS = {"anger": "angry", "sadness": "sad", "surprised": "surprise"}


class Facex:
    gives_probabilities = True

    def __init__(self, _options):
        self._facex = PoolManager(pool_size=1)
        self._worker = self._facex.pool[0]
        self.labels = tuple(WORDS.get(name, name) for name in self._worker.category)

    def classify(self, crops):
        return np.array([list(self._worker.detect_emotion(crop).values()) for crop in crops])

    def prepare(self, frame_rgb):
        return np.ascontiguousarray(frame_rgb[..., ::-1])

    def analyze(self, photo):
        return self._facex.predict(photo)

    def faces(self, photo):
        for face in self.analyze(photo):
            x, y, w, h = face["bbox"]
            yield (x, y, x + w, y + h), list(face["emot"].values())


run(Facex)
