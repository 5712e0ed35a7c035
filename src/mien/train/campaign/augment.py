"""The augmentation of :mod:`mien.train.loop.augment` as pure JAX functions: a whole epoch can run on an accelerator without the host.

The random numbers have the same distributions but other values. JPEG compression is missing, because accelerators cannot compute it.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from mien.train.recipe import AugmentTable

Array = Any  # a jax.Array, or a tracer of one inside jit


def augment(key: Array, chips: Array, settings: AugmentTable, strength: Array | float = 1.0) -> Array:
    """Return changed copies of ``chips``, float32 (N, side, side, C) in 0..255.

    Args:
        key: a JAX random key; the same key gives the same result.
        chips: uint8 or float (N, side, side, C) in 0..255.
        settings: amplitudes and probabilities; ``jpeg_p`` is ignored.
        strength: 0..1; multiplies the amplitudes of geometry and tone, and the probabilities of blur, JPEG and the erased box.
    """
    geometry, tone, blur, erase = jax.random.split(key, 4)
    x = warp(chips.astype(jnp.float32), _draw_affine(geometry, chips.shape, settings, strength))
    x = _tone(tone, x, settings, strength)
    if settings.blur_p:
        x = _blur(blur, x, settings.blur_p * strength)
    if settings.erase_p:
        x = _erase(erase, x, settings.erase_p * strength)
    return x


def mix(key: Array, chips: Array, targets: dict[str, Array], settings: AugmentTable) -> tuple[Array, dict[str, Array]]:
    """Return chips (N, side, side, C) and targets mixed within the batch by mixup or cutmix. If both are on, chance chooses one of them.

    Both compute ``keep * chips + (1 - keep) * partners``. In mixup, ``keep`` is the same share for all pixels. In cutmix, it is 1 or 0
    per pixel. Sources: mixup, Zhang et al. 2018, arXiv:1710.09412; cutmix, Yun et al. 2019, arXiv:1905.04899.
    """
    kinds = [(kind, alpha) for kind, alpha in ((_mixup, settings.mixup_alpha), (_cutmix, settings.cutmix_alpha)) if alpha > 0]
    if not kinds:
        return chips, targets
    pick, draw, partners = jax.random.split(key, 3)
    keeps = jnp.stack([kind(draw, alpha, chips.shape[1]) for kind, alpha in kinds])  # (kinds, side, side)
    keep = keeps[jax.random.randint(pick, (), 0, len(kinds))]
    order = jax.random.permutation(partners, chips.shape[0])
    share = keep.mean()
    mixed = keep[None, :, :, None] * chips + (1 - keep[None, :, :, None]) * chips[order]
    return mixed, {name: share * target + (1 - share) * target[order] for name, target in targets.items()}


def warp(chips: Array, matrices: Array) -> Array:
    """Return ``chips`` (N, side, side, C) moved by ``matrices`` (N, 2, 3), which map a pixel (x, y) to its new position.

    The interpolation is bilinear. The border is reflected around its last pixel, as in OpenCV's ``warpAffine`` with
    ``BORDER_REFLECT_101``.
    """
    return jax.vmap(_warp_one)(chips, matrices)


def _warp_one(chip: Array, matrix: Array) -> Array:
    side, channels = chip.shape[0], chip.shape[-1]
    (a, b, tx), (c, d, ty) = matrix
    column, row = jnp.meshgrid(jnp.arange(side) - tx, jnp.arange(side) - ty)
    det = a * d - b * c
    x, y = (d * column - b * row) / det, (a * row - c * column) / det  # the source position of each pixel
    left, top = jnp.floor(x), jnp.floor(y)
    wx, wy = (x - left)[..., None], (y - top)[..., None]
    flat = chip.reshape(-1, channels)

    def at(dx: int, dy: int) -> Array:
        return flat[_reflect(top + dy, side) * side + _reflect(left + dx, side)]

    upper = at(0, 0) * (1 - wx) + at(1, 0) * wx
    lower = at(0, 1) * (1 - wx) + at(1, 1) * wx
    return upper * (1 - wy) + lower * wy


def _reflect(position: Array, side: int) -> Array:
    period = 2 * (side - 1)
    folded = jnp.abs(position.astype(jnp.int32)) % period
    return jnp.where(folded >= side, period - folded, folded)


def _span(key: Array, n: int, amplitude: Array | float) -> Array:
    return jax.random.uniform(key, (n,), minval=-1.0, maxval=1.0) * amplitude


def _draw_affine(key: Array, shape: tuple[int, ...], s: AugmentTable, k: Array | float) -> Array:
    n, side = shape[0], shape[1]
    keys = jax.random.split(key, 6)
    angle = _span(keys[0], n, jnp.deg2rad(s.rotate_deg) * k)
    zoom_x = 1 + _span(keys[1], n, s.scale * k)
    zoom_y = zoom_x * (1 + _span(keys[2], n, s.scale / 4 * k))  # a small change of the aspect ratio
    mirror = jnp.where(jax.random.uniform(keys[3], (n,)) < s.flip_p, -1.0, 1.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b, c, d = mirror * zoom_x * cos, -zoom_y * sin, mirror * zoom_x * sin, zoom_y * cos
    centre = (side - 1) / 2
    tx = centre - (a + b) * centre + _span(keys[4], n, s.shift * side * k)
    ty = centre - (c + d) * centre + _span(keys[5], n, s.shift * side * k)
    return jnp.stack([a, b, tx, c, d, ty], 1).reshape(n, 2, 3)


def _tone(key: Array, x: Array, s: AugmentTable, k: Array | float) -> Array:
    keys = jax.random.split(key, 3)
    gamma, contrast, brightness = (
        _span(one, x.shape[0], amplitude * k)[:, None, None, None]
        for one, amplitude in zip(keys, (s.gamma, s.contrast, s.brightness), strict=True)
    )
    curve = jnp.clip(x / 255, 1e-6, 1.0) ** jnp.exp(gamma)
    return 255 * jnp.clip((curve - 0.5) * (1 + contrast) + 0.5 + brightness, 0, 1)


def _blur(key: Array, x: Array, probability: Array | float) -> Array:
    n, side = x.shape[0], x.shape[1]
    chosen, width = jax.random.split(key)
    largest = 1.1 * side / 48
    sigma = jax.random.uniform(width, (n, 1), minval=0.4 * side / 48, maxval=largest)
    reach = math.ceil(3 * largest)
    offsets = jnp.arange(-reach, reach + 1)
    kernel = jnp.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum(1, keepdims=True)
    sharp = (offsets == 0).astype(jnp.float32)
    kernel = jnp.where(jax.random.uniform(chosen, (n, 1)) < probability, kernel, sharp)  # (N, 2 reach + 1)
    for axis in (1, 2):
        padded = jnp.pad(x, [(reach, reach) if i == axis else (0, 0) for i in range(4)], mode="reflect")
        x = sum(kernel[:, i, None, None, None] * jax.lax.slice_in_dim(padded, i, i + side, axis=axis) for i in range(2 * reach + 1))
    return x


def _erase(key: Array, x: Array, probability: Array | float) -> Array:
    n, side = x.shape[0], x.shape[1]
    chosen, size, corner, level = jax.random.split(key, 4)
    extent = jax.random.uniform(size, (2, n), minval=0.15, maxval=0.45) * side  # width and height
    start = jax.random.uniform(corner, (2, n)) * (side - extent)
    pixel = jnp.arange(side)
    inside_x, inside_y = (
        (jnp.floor(s)[:, None] <= pixel) & (pixel < jnp.floor(s + e)[:, None]) for s, e in zip(start, extent, strict=True)
    )
    hit = (jax.random.uniform(chosen, (n,)) < probability)[:, None, None] & inside_y[:, :, None] & inside_x[:, None, :]
    fill = jax.random.randint(level, (n, 1, 1, 1), 0, 256).astype(x.dtype)
    return jnp.where(hit[..., None], fill, x)


def _mixup(key: Array, alpha: float, side: int) -> Array:
    return jnp.full((side, side), jax.random.beta(key, alpha, alpha))


def _cutmix(key: Array, alpha: float, side: int) -> Array:
    area, place = jax.random.split(key)
    half = side * jnp.sqrt(1 - jax.random.beta(area, alpha, alpha)) / 2
    centre = jax.random.uniform(place, (2,)) * side
    low, high = (jnp.floor(jnp.clip(centre + sign * half, 0, side)) for sign in (-1, 1))
    pixel = jnp.arange(side)[:, None]
    inside = (low <= pixel) & (pixel < high)  # (side, 2)
    return 1.0 - (inside[:, None, 0] & inside[None, :, 1]).astype(jnp.float32)
