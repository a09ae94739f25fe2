"""What the machine can do without a server: the encoder alone, the decoder alone, and one image at a time."""

import io
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from labeler_service.backends import Backend

# A larger batch that gives less than this many times the rate is no gain but a machine's noise.
GAIN = 1.02

Pixels = NDArray[np.uint8]
Shape = tuple[int, int]  # height, width


def rate(step: Callable[[], int], seconds: float) -> float:
    """Items per second of a step that says how many it did."""
    step()  # warm
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        done += step()
    return done / spent


def decode(content: bytes, shape: Shape) -> Pixels:
    """The paper's global view: resized without regard to its aspect."""
    return _resize(_open(content), shape)


def _open(content: bytes) -> PillowImage.Image:
    return PillowImage.open(io.BytesIO(content)).convert("RGB")


def _resize(image: PillowImage.Image, shape: Shape, box: tuple[float, float, float, float] | None = None) -> Pixels:
    height, width = shape
    return np.array(image.resize((width, height), PillowImage.Resampling.BILINEAR, box=box))


def best_batch(backend: Backend, shape: Shape, seconds: float) -> int:
    """Pixels of the batch that is encoded fastest, of 8, 16, 32 or 64 views of that shape."""
    best, best_rate = 0, 0.0
    for number in (8, 16, 32, 64):
        found = _encoder(backend, shape, number, seconds / 4)
        if best and found < GAIN * best_rate:
            break
        best, best_rate = number, found
    return best * shape[0] * shape[1]


def encoder(backend: Backend, shapes: Counter[Shape], batch_pixels: int, seconds: float) -> float:
    """Views per second (R) of decoded pixels in full batches, for views of these shapes and frequencies."""
    share = seconds / len(shapes)
    spent = 0.0
    for (height, width), frequency in shapes.items():
        number = min(64, max(1, batch_pixels // (height * width)))
        spent += frequency / _encoder(backend, (height, width), number, share)
    return shapes.total() / spent


def _encoder(backend: Backend, shape: Shape, batch: int, seconds: float) -> float:
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *shape, 3), dtype=np.uint8)
    return rate(lambda: len(backend.encode_images(pixels, backend.info.normalization)), seconds)


def decoder(contents: Sequence[bytes], shape: Shape, seconds: float) -> float:
    """Images per second (D) with all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return rate(lambda: len(list(pool.map(lambda content: decode(content, shape), contents))), seconds)


def one_at_a_time(backend: Backend, contents: Sequence[bytes], shape: Shape, seconds: float) -> float:
    """Images per second, decoded and encoded one by one, as the paper's released code does."""
    source = itertools.cycle(contents)
    return rate(lambda: len(encode_one(backend, next(source), shape)), seconds)


def encode_one(backend: Backend, content: bytes, shape: Shape) -> NDArray[np.float32]:
    return backend.encode_images(decode(content, shape)[None], backend.info.normalization)


def crops_one_at_a_time(
    backend: Backend, items: Sequence[tuple[bytes, NDArray[np.int64], Sequence[Shape]]], seconds: float
) -> float:
    """Crops per second: each image is decoded once, each of its boxes encoded by itself, at its own shape."""
    source = itertools.cycle(items)

    def step() -> int:
        content, boxes, shapes = next(source)
        image = _open(content)
        for (x0, y0, x1, y1), shape in zip(boxes, shapes, strict=True):
            view = _resize(image, shape, (x0, y0, x1, y1))
            backend.encode_images(view[None], backend.info.normalization)
        return len(boxes)

    return rate(step, seconds)
