"""Images and boxes to measure with, the same for the same seed."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

PHOTO_WIDTH, PHOTO_HEIGHT = 500, 375  # VOC's usual size


def photo(seed: int) -> bytes:
    """A JPEG of VOC's usual size with a photograph's amount of detail."""
    rng = np.random.default_rng(seed)
    size = PHOTO_WIDTH, PHOTO_HEIGHT
    coarse = PillowImage.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(size)
    noisy = np.clip(np.asarray(coarse) + rng.normal(0, 8, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
    content = io.BytesIO()
    PillowImage.fromarray(noisy).save(content, "JPEG", quality=90)
    return content.getvalue()


def tiny_image(seed: int, num_bytes: int = 0) -> bytes:
    """A PNG of 8 x 8 pixels, which is decoded at once. What follows its end, up to `num_bytes` in all, is not read."""
    content = io.BytesIO()
    PillowImage.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(content, "PNG")
    return content.getvalue().ljust(num_bytes, b"\0")


def boxes(seed: int, number: int) -> NDArray[np.int64]:
    """(number, 4) x0 y0 x1 y1 within a photo, as class activation maps give them: a tenth to all of each side, evenly
    spread, so that their shapes differ from each other."""
    rng = np.random.default_rng(seed)
    sides = np.array([PHOTO_WIDTH, PHOTO_HEIGHT])
    sizes = (sides * rng.uniform(0.1, 1.0, (number, 2))).astype(np.int64)
    starts = (rng.uniform(0, 1, (number, 2)) * (sides - sizes)).astype(np.int64)
    return np.concatenate([starts, starts + sizes], axis=1)
