"""A detector that a test holds back, so that requests are under way for as long as the test wants."""

import threading

from mien.bundles import Bundle
from mien.classify import Classifier
from mien.pipeline import Pipeline
from tests.support import ToldDetector, detection


class HeldDetector(ToldDetector):
    """Answers one face a frame, once it is let go."""

    def __init__(self, faces: int = 1) -> None:
        super().__init__(tuple(detection(50 * i, 0) for i in range(faces)))
        self.free = threading.Event()
        self.waiting = threading.Semaphore(0)

    def detect(self, frame_rgb, min_face=20):
        self.waiting.release()
        assert self.free.wait(30), "the test never let the detector go"
        return super().detect(frame_rgb, min_face)


def held_pipeline(bundle: Bundle, faces: int = 1) -> tuple[Pipeline, HeldDetector]:
    detector = HeldDetector(faces)
    return Pipeline(classifier=Classifier(bundle, threads=1), detector=detector), detector
