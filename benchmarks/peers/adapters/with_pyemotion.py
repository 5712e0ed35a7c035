"""PyEmotion: a small network on grey 48x48 faces in -1..1; MTCNN. It draws labels on the frame and returns no scores."""

import cv2
import numpy as np
import torch
from protocol import run
from PyEmotion import DetectFace


class PyEmotion:
    gives_probabilities = False

    def __init__(self, options):
        torch.set_num_threads(int(options["threads"]))
        self._peer = DetectFace(device="cpu")
        self.labels = tuple(self._peer.emotions[i].lower() for i in range(7))

    @torch.no_grad()
    def classify(self, crops):
        return self._peer.network(torch.stack([self._peer.transform(crop) for crop in crops])).exp().numpy()

    def prepare(self, frame_rgb):
        return np.ascontiguousarray(frame_rgb[..., ::-1])

    def analyze(self, photo):
        return self._peer.predict_emotion(photo.copy())

    def faces(self, photo):
        boxes, _ = self._peer.mtcnn.detect(photo)
        grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
        for box in () if boxes is None else boxes:
            x0, y0, x1, y1 = (max(0, round(float(v))) for v in box)
            yield box, self.classify([grey[y0:y1, x0:x1]])[0]


run(PyEmotion)
