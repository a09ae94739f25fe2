"""Gives flat drawings the look of photographs: volume and texture on things, and the faults of a cheap camera."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter


def light(sprite: NDArray[np.uint8], rng: Generator) -> NDArray[np.float32]:
    """Shades a (H, W, 4) premultiplied picture: rounder edges, light from one side, an uneven surface.

    Returns (H, W, 4) float32, colours premultiplied in [0, 255], coverage in [0, 1].
    """
    height, width = sprite.shape[:2]
    side = max(height, width)
    soft = Image.fromarray(np.ascontiguousarray(sprite[..., 3])).filter(ImageFilter.GaussianBlur(side * 0.05))
    volume = np.asarray(soft, dtype=np.float32) / 255
    tilt = rng.uniform(-0.28, 0.28, 2).astype(np.float32)
    slope = tilt[0] * np.linspace(-1, 1, height, dtype=np.float32)[:, None] + tilt[1] * np.linspace(
        -1, 1, width, dtype=np.float32
    )
    grid = rng.standard_normal((int(rng.integers(3, 14)),) * 2).astype(np.float32)
    surface = np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BILINEAR))
    depth, rough = rng.uniform(0.1, 0.5), rng.uniform(0.0, 0.09)
    factor = (1 - depth) + depth * 1.15 * volume + slope + np.float32(rough) * surface
    lit = sprite.astype(np.float32)
    lit[..., :3] *= np.clip(factor, 0.25, 1.5)[..., None]
    lit[..., 3] /= 255
    return np.minimum(lit, np.array([255, 255, 255, 1], np.float32) * np.maximum(lit[..., 3:], 1 / 255))


def photograph(pixels: NDArray[np.float32], rng: Generator) -> NDArray[np.uint8]:
    """(H, W, 3) in [0, 255] with exposure, colour cast, vignette, slight blur and sensor noise, as uint8."""
    height, width = pixels.shape[:2]
    gain = rng.uniform(0.82, 1.2) * rng.uniform(0.93, 1.07, 3)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    x = np.linspace(-1, 1, width, dtype=np.float32) ** 2
    vignette = 1 - np.float32(rng.uniform(0.0, 0.25)) * (x + y) / 2
    exposed = (pixels - 128) * np.float32(rng.uniform(0.82, 1.12)) + 128
    exposed *= vignette[..., None] * gain.astype(np.float32)
    if rng.random() < 0.5:
        image = Image.fromarray(np.clip(exposed, 0, 255).astype(np.uint8))
        exposed = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9))), dtype=np.float32)
    noise = rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(rng.uniform(1, 5.5))
    return np.clip(exposed + noise, 0, 255).astype(np.uint8)
