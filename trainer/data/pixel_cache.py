"""Squashed pixels in memory, so that an image file is read and decoded once per size and not once per epoch."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from trainer.data.sample import ImageSet, Sample
from trainer.data.transforms import Pixels, load_squashed

# 40,000 images at 128 px or 3,500 at 448 px: the demo and small sets fit, and a common machine has the memory to spare.
MAX_BYTES = 2 * 1024**3


class PixelCache:
    """Shared by the loaders, and by the runs of one process, that are given it."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._free_bytes = max_bytes
        self._pixels: dict[tuple[int, Sequence[Sample]], Pixels] = {}

    def pixels(self, image_set: ImageSet, image_size: int, workers: int) -> Pixels | None:
        """(N, S, S, 3) uint8, read with `workers` threads at first use; None where it does not fit.

        Raises ValueError that names the file where one is no usable image.
        """
        key = (image_size, image_set.samples)
        if key not in self._pixels:
            num_bytes = len(image_set) * image_size * image_size * 3
            if num_bytes > self._free_bytes:
                return None
            self._pixels[key] = _read_all(image_set.samples, image_size, workers)
            self._free_bytes -= num_bytes
        return self._pixels[key]


def read_squashed(sample: Sample, image_size: int) -> Pixels:
    """(S, S, 3) uint8 of the sample's file. Raises ValueError that names the file where it is no usable image."""
    try:
        return load_squashed(sample.path.read_bytes(), image_size)
    except ValueError as error:
        raise ValueError(f"{sample.path}: {error}") from error


def _read_all(samples: Sequence[Sample], image_size: int, workers: int) -> Pixels:
    pixels = np.empty((len(samples), image_size, image_size, 3), np.uint8)

    def read(i: int) -> None:
        pixels[i] = read_squashed(samples[i], image_size)

    with ThreadPoolExecutor(workers) as pool:
        deque(pool.map(read, range(len(samples))), maxlen=0)  # waits for all, and raises what one raised
    return pixels
