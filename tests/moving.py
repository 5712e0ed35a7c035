"""Made-up scenes whose faces are bright squares, and the detector that finds them."""

from dataclasses import dataclass, field

import numpy as np

from mien.detect import Detection
from mien.media.video import VideoFrame

FPS = 30


@dataclass
class BrightSquares:
    """Finds white squares as faces: a detector whose answers depend on what it is shown, as a real one's do."""

    name: str = "squares"
    shapes: list[tuple[int, int]] = field(default_factory=list)

    def detect(self, frame_rgb, min_face=20):
        self.shapes.append(frame_rgb.shape[:2])
        faces = []
        bright = frame_rgb[..., 0] > 127
        while bright.any():
            y, x = np.unravel_index(bright.argmax(), bright.shape)
            width = int((~np.append(bright[y, x:], False)).argmax())
            height = int((~np.append(bright[y:, x], False)).argmax())
            bright[y : y + height, max(0, x - 1) : x + width + 1] = False
            points = tuple((x + a * width, y + b * height) for a, b in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)))
            if min(width, height) >= max(min_face, 3):
                faces.append(Detection((float(x), float(y), float(x + width), float(y + height)), 0.9, points))
        return tuple(faces)


def scene(squares, count=40, size_wh=(640, 360), fps=FPS):
    """Yield frames with white squares of 40 px at frame number -> (x, y), or None."""
    for index in range(count):
        frame = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
        for square in squares:
            if place := square(index):
                x, y = place
                frame[y : y + 40, x : x + 40] = 255
        yield VideoFrame(index, index / fps, frame)


def moving(index):
    return 20 + 4 * index, 100


def still(index):
    return 400, 200
