"""Heat maps of the faces of a photo, as pictures that a page can lay over the photo."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from mien.arrays import Frame
from mien.classify import Classifier
from mien.explain import explain_face, occlusion_map
from mien.pipeline import Prepared
from mien.results import FrameResult

MAX_SIDE = 320  # pixels of the longer side of such a picture


def explanations(classifier: Classifier, prepared: Prepared, result: FrameResult, most: int) -> list[dict[str, Any] | None]:
    """Return label, picture, place and shares by part for the first ``most`` faces of a photo, None for the other faces.

    Args:
        classifier: the model that answered.
        prepared: the photo, with its frame.
        result: the record of the photo.
        most: number of faces to explain.
    """
    told: list[dict[str, Any] | None] = [None] * len(result.faces)
    if prepared.frame is None:
        return told
    for index, face in enumerate(result.faces[:most]):
        heat = occlusion_map(classifier, prepared.chips[index], face.top)
        explained = explain_face(prepared.frame, face, heat, classifier.spec, max_side=MAX_SIDE)
        told[index] = {
            "label": face.top,
            "png": _png(explained.marked_rgb),
            "box_xyxy": [float(side) for side in explained.box_xyxy],
            "parts": explained.shares,
            "strongest": explained.strongest,
        }
    return told


def _png(image_rgb: Frame) -> str:
    out = io.BytesIO()
    Image.fromarray(image_rgb).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode("ascii")
