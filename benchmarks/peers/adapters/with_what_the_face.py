"""what-the-face-classification: a network on grey 48x48 faces in 0..1; the first box of a Haar cascade, so one label per photo."""

import cv2
import numpy as np
import torch
from PIL import Image
from protocol import run
from what_the_face_classification import inference

SURE = 0.6


class WhatTheFace:
    gives_probabilities = True

    def __init__(self, options):
        torch.set_num_threads(int(options["threads"]))
        self._peer = inference.Image_classifier()
        self._peer.net.eval()
        self.labels = self._peer.classes

    @torch.no_grad()
    def classify(self, crops):
        faces = torch.stack([self._peer.transform(Image.fromarray(crop)).float() for crop in crops])
        return torch.softmax(self._peer.net(faces), 1).numpy()

    def prepare(self, frame_rgb):
        return Image.fromarray(frame_rgb)

    def analyze(self, photo):
        return self._peer.predict(photo)

    def faces(self, photo):
        # As its own predict, which keeps box and scores to itself. Without a box it takes the whole photo, and says so below 60 %.
        boxes = cv2.CascadeClassifier(inference.xml_file).detectMultiScale(np.array(photo), 1.3, 5)
        x, y, w, h = boxes[0] if len(boxes) else (0, 0, *photo.size)
        scores = self.classify([np.array(photo.crop((x, y, x + w, y + h)))])[0]
        if len(boxes) or scores.max() >= SURE:
            yield (x, y, x + w, y + h), scores


run(WhatTheFace)
