"""Batches for training and evaluation. What an image looks like in an epoch depends on (seed, epoch, its index) alone,
never on the number of workers, the order of batches or where a run was resumed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.parallel import map_ahead
from trainer.data.pixel_cache import PixelCache, read_squashed
from trainer.data.sample import ImageSet
from trainer.data.transforms import Pixels, normalise, strong_view, weak_view


@dataclass(frozen=True)
class Batch:
    """weak, strong: (B, 3, S, S) float32, normalised, in channels_last memory; strong is None unless asked for.
    indices: (B,) int64, positions in the image set."""

    weak: Tensor
    strong: Tensor | None
    indices: Tensor


@dataclass(frozen=True, eq=False)
class _Loader:
    """What both loaders share: where pixels come from, and how they become batches.

    image_size: S, pixels. mean, std: of each channel, for pixels in [0, 1]. workers: threads, at least 1.
    cache: keeps the pixels for the next epoch or loader where they fit; None reads the files every time.
    Iterating raises ValueError for a file that is no usable image: leave those out first (index.py).

    Threads and no processes: decoding, resizing and turning the hue, about nine tenths of the work, release the GIL,
    and there is nothing to pickle, no start-up time and no shared memory to run out of (a container has 64 MB).
    """

    image_set: ImageSet
    _: KW_ONLY
    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    batch_size: int
    workers: int
    cache: PixelCache | None = None

    def __len__(self) -> int:
        """Batches in an epoch; the last may be smaller."""
        return -(-len(self.image_set) // self.batch_size)

    def _batches(self, order: NDArray[np.int64], views: Callable[[Pixels, int], tuple[Pixels, ...]]) -> Iterator[Batch]:
        """The images in this order; views makes the weak and perhaps the strong view of an image's pixels and index."""
        cached = self.cache.pixels(self.image_set, self.image_size, self.workers) if self.cache else None

        def read(i: int) -> Pixels:
            return read_squashed(self.image_set.samples[i], self.image_size) if cached is None else cached[i]

        def make(indices: NDArray[np.int64]) -> Batch:
            images = [views(read(i), i) for i in indices.tolist()]
            weak, *strong = [normalise(view, self.mean, self.std) for view in zip(*images, strict=True)]
            return Batch(weak, strong[0] if strong else None, torch.from_numpy(indices))

        starts = range(0, len(order), self.batch_size)
        return map_ahead(make, [order[start : start + self.batch_size] for start in starts], self.workers)


@dataclass(frozen=True, eq=False)
class TrainingBatches(_Loader):
    """Every image once an epoch, in an order of its own, as a weak view and, with two_views, a strong one too.

    The weak view of an image in an epoch is the same with and without the strong one.
    """

    _: KW_ONLY
    seed: int
    two_views: bool

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of this epoch (from 0), in any order of calls."""

        def views(pixels: Pixels, index: int) -> tuple[Pixels, ...]:
            rng = default_rng(SeedSequence(self.seed, spawn_key=(epoch, index)))
            weak = weak_view(pixels, rng)
            return (weak, strong_view(pixels, rng)) if self.two_views else (weak,)

        order = default_rng(SeedSequence(self.seed, spawn_key=(epoch,))).permutation(len(self.image_set))
        return self._batches(order, views)


@dataclass(frozen=True, eq=False)
class EvaluationBatches(_Loader):
    """Every image once, in the image set's order, as it is."""

    def __iter__(self) -> Iterator[Batch]:
        return self._batches(np.arange(len(self.image_set)), lambda pixels, _: (pixels,))
