"""Heat maps of a photo's faces as pictures that a page can lay over them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from mien.arrays import Frame
from mien.classify import Classifier
from mien.explain import DECISIVE, by_part, occlusion_map, overlay, strongest
from mien.geometry import grown
from mien.pipeline import Prepared
from mien.results import FrameResult

MARGIN = 0.15  # shown around the face's box, in its sides
MAX_SIDE = 320  # pixels of the picture


def explanations(classifier: Classifier, prepared: Prepared, result: FrameResult, most: int) -> list[dict[str, Any] | None]:
    """Return label, picture, place and shares by part for the first ``most`` faces of a photo, None for the others.

    Args:
        classifier: what answered.
        prepared: the photo, with its frame.
        result: the answer.
        most: how many faces to explain.
    """
    told: list[dict[str, Any] | None] = [None] * len(result.faces)
    if prepared.frame is None:
        return told
    for index, face in enumerate(result.faces[:most]):
        heat = occlusion_map(classifier, prepared.chips[index], face.top)
        x0, y0, x1, y1 = grown(face.box_xyxy, MARGIN, result.width, result.height)
        crop, scale = _small_grey(prepared.frame[y0:y1, x0:x1])
        landmarks = [((x - x0) * scale, (y - y0) * scale) for x, y in face.landmarks]
        told[index] = {
            "label": face.top,
            "png": _png(overlay(crop, heat, landmarks, classifier.spec, full_at=DECISIVE)),
            "box_xyxy": [float(x0), float(y0), float(x1), float(y1)],
            "parts": by_part(heat, classifier.spec),
            "strongest": strongest(heat),
        }
    return told


def _small_grey(crop_rgb: Frame) -> tuple[Frame, float]:
    """Return the crop in grey with a longer side of at most MAX_SIDE, and by how much it was scaled; warm colours vanish on skin."""
    height, width = crop_rgb.shape[:2]
    scale = min(1.0, MAX_SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(crop_rgb).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(small.convert("L").convert("RGB"), np.uint8), scale


def _png(image_rgb: Frame) -> str:
    out = io.BytesIO()
    Image.fromarray(image_rgb).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode("ascii")
