"""Random changes to training chips. A crop varies as much as faces in ordinary photos do, and not more."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.train.recipe import AugmentTable


def augment(
    chips: NDArray[np.uint8], settings: AugmentTable, rng: np.random.Generator, strength: float = 1.0, crop: int = 0
) -> NDArray[np.uint8]:
    """Return changed copies of ``chips``, uint8 (N, H, W) or (N, H, W, 3).

    The steps are: geometry (mirror, rotation, scale, shift, crop) as one bilinear warp with a reflected border; gamma, contrast and
    brightness as one table look-up; blur; JPEG; and a random erased box.

    Args:
        strength: 0..1; multiplies the amplitudes of geometry and tone, and the probabilities of blur, JPEG and the erased box.
        crop: side in px of a square at a random place of each chip. Only the square is returned, (N, crop, crop[, 3]); 0 returns whole
            chips.
    """
    side = crop or chips.shape[1]
    out = np.empty((len(chips), side, side, *chips.shape[3:]), np.uint8)
    draws = _Draws(len(chips), chips.shape[1], settings, rng, strength, side)
    for i, chip in enumerate(chips):
        image = cv2.warpAffine(chip, draws.affine[i], (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        image = draws.tone[i][image]
        if draws.blur[i]:
            image = cv2.GaussianBlur(image, (0, 0), draws.sigma[i])
        if draws.jpeg[i]:
            image = _jpeg(image, int(draws.quality[i]))
        if draws.erase[i]:
            x0, y0, x1, y1 = draws.box[i]
            image[y0:y1, x0:x1] = draws.fill[i]
        out[i] = image
    return out


class _Draws:
    """All random numbers of a batch. They are drawn together, so that a batch depends only on its seed."""

    def __init__(self, n: int, side: int, s: AugmentTable, rng: np.random.Generator, k: float, crop: int) -> None:
        def span(amplitude: float) -> NDArray[np.float64]:
            return rng.uniform(-amplitude * k, amplitude * k, n)

        angle = np.deg2rad(span(s.rotate_deg))
        zoom_x = 1 + span(s.scale)
        zoom_y = zoom_x * (1 + span(s.scale / 4))  # a small change of the aspect ratio
        mirror = np.where(rng.random(n) < s.flip_p, -1.0, 1.0)
        centre = (side - 1) / 2
        cos, sin = np.cos(angle), np.sin(angle)
        a, b, c, d = mirror * zoom_x * cos, -zoom_y * sin, mirror * zoom_x * sin, zoom_y * cos
        tx = centre - (a + b) * centre + span(s.shift) * side
        ty = centre - (c + d) * centre + span(s.shift) * side
        self.affine = np.stack([a, b, tx, c, d, ty], 1).reshape(n, 2, 3)

        levels = np.linspace(0, 1, 256)[None]
        curve = levels ** np.exp(span(s.gamma))[:, None]
        curve = (curve - 0.5) * (1 + span(s.contrast))[:, None] + 0.5 + span(s.brightness)[:, None]
        self.tone = np.clip(np.rint(curve * 255), 0, 255).astype(np.uint8)  # (N, 256)

        self.blur = rng.random(n) < s.blur_p * k
        self.sigma = rng.uniform(0.4, 1.1, n) * side / 48
        self.jpeg = rng.random(n) < s.jpeg_p * k
        self.quality = rng.uniform(25, 80, n)
        self.erase = rng.random(n) < s.erase_p * k
        width, height = rng.uniform(0.15, 0.45, (2, n)) * crop
        x0, y0 = rng.uniform(0, crop - width), rng.uniform(0, crop - height)
        self.box = np.stack([x0, y0, x0 + width, y0 + height], 1).astype(int)
        self.fill = rng.integers(0, 256, n)
        if crop < side:
            self.affine[:, :, 2] -= rng.uniform(0, side - crop, (n, 2))


def _jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def mix(
    chips: NDArray[np.float32], targets: list[NDArray[np.float32]], settings: AugmentTable, rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Return chips (N, H, W, C) and targets mixed within the batch by mixup or cutmix. If both are on, one of them is chosen at random.

    Sources: mixup, Zhang et al. 2018, arXiv:1710.09412; cutmix, Yun et al. 2019, arXiv:1905.04899.
    """
    kinds = [(kind, alpha) for kind, alpha in (("mixup", settings.mixup_alpha), ("cutmix", settings.cutmix_alpha)) if alpha > 0]
    if not kinds:
        return chips, targets
    kind, alpha = kinds[rng.integers(len(kinds))]
    share = float(rng.beta(alpha, alpha))
    order = rng.permutation(len(chips))
    if kind == "mixup":
        chips = share * chips + (1 - share) * chips[order]
    else:
        side = chips.shape[1]
        half = side * np.sqrt(1 - share) / 2
        cx, cy = rng.uniform(0, side, 2)
        x0, x1 = np.clip([cx - half, cx + half], 0, side).astype(int)
        y0, y1 = np.clip([cy - half, cy + half], 0, side).astype(int)
        chips = chips.copy()
        chips[:, y0:y1, x0:x1] = chips[order, y0:y1, x0:x1]
        share = 1 - (x1 - x0) * (y1 - y0) / side**2
    return chips, [share * target + (1 - share) * target[order] for target in targets]
