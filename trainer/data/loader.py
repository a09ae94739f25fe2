"""Batches for training and evaluation. What an image looks like in an epoch depends on (seed, epoch, its index) alone,
never on the number of workers, the order of batches or where a run was resumed."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.pixel_cache import PixelCache, read_squashed
from trainer.data.sample import ImageSet
from trainer.data.seeds import RunStream
from trainer.data.transforms import SIZE_STEP, Pixels, normalise, resized, strong_view, weak_view

Image = TypeVar("Image")

# Batches that are made while the consumer has one, each with all threads. 32 images of 640 pixels are 160 MB.
BATCHES_AHEAD = 1


@dataclass(frozen=True)
class Batch:
    """weak, strong: (B, 3, S, S) float32, normalised, in channels_last memory; strong is None unless asked for.
    indices: (B,) int64, positions in the image set."""

    weak: Tensor
    strong: Tensor | None
    indices: Tensor

    def pinned(self) -> "Batch":
        """With its images in pinned memory."""
        return Batch(self.weak.pin_memory(), None if self.strong is None else self.strong.pin_memory(), self.indices)


@dataclass(frozen=True, eq=False)
class _Loader:
    """What both loaders share: where pixels come from, and how they become batches.

    image_size: S, pixels. mean, std: of each channel, for pixels in [0, 1]. workers: threads, at least 1.
    cache: keeps the pixels for the next epoch or loader where they fit; None reads the files every time.
    pin_memory: batches lie in memory that CUDA copies from while it computes.
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
    pin_memory: bool = False

    def __len__(self) -> int:
        """Batches in an epoch; the last may be smaller."""
        return -(-len(self.image_set) // self.batch_size)

    def _batches(
        self,
        order: NDArray[np.int64],
        views: Callable[[Pixels, int], tuple[Pixels, ...]],
        sizes: NDArray[np.int64] | None = None,
    ) -> Iterator[Batch]:
        """The images in this order; views makes the weak and perhaps the strong view of an image's pixels and index.

        sizes: side of each batch's images, at most image_size; None leaves them as they are.
        """
        cached = self.cache.pixels(self.image_set, self.image_size, self.workers) if self.cache else None

        def read(i: int) -> Pixels:
            return read_squashed(self.image_set.samples[i], self.image_size) if cached is None else cached[i]

        def make(i: int, size: int) -> tuple[Pixels, ...]:
            return views(resized(read(i), size), i)

        def assemble(indices: NDArray[np.int64], images: list[tuple[Pixels, ...]]) -> Batch:
            weak, *strong = [normalise(view, self.mean, self.std) for view in zip(*images, strict=True)]
            batch = Batch(weak, strong[0] if strong else None, torch.from_numpy(indices))
            return batch.pinned() if self.pin_memory else batch

        starts = range(0, len(order), self.batch_size)
        parts = [order[start : start + self.batch_size] for start in starts]
        sides = [self.image_size] * len(parts) if sizes is None else sizes.tolist()
        return _ahead(parts, sides, make, assemble, self.workers)


@dataclass(frozen=True, eq=False)
class TrainingBatches(_Loader):
    """Every image once an epoch, in an order of its own, as a weak view and, with two_views, a strong one too.

    The weak view of an image in an epoch is the same with and without the strong one.

    sizes: the smallest and the largest side in pixels, multiples of SIZE_STEP; each batch has one side between them.
    None: all have image_size. With sizes image_size must be the largest: others are made from its pixels, so that
    these are cached once.
    """

    _: KW_ONLY
    seed: int
    two_views: bool
    sizes: tuple[int, int] | None = None

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of this epoch (from 0), in any order of calls."""

        def views(pixels: Pixels, index: int) -> tuple[Pixels, ...]:
            rng = default_rng(SeedSequence(self.seed, spawn_key=(epoch, index)))
            weak = weak_view(pixels, rng)
            return (weak, strong_view(pixels, rng)) if self.two_views else (weak,)

        order = default_rng(SeedSequence(self.seed, spawn_key=(epoch,))).permutation(len(self.image_set))
        return self._batches(order, views, self._sides(epoch))

    def _sides(self, epoch: int) -> NDArray[np.int64] | None:
        """Side of each batch of the epoch, drawn evenly by seed and epoch."""
        if self.sizes is None:
            return None
        smallest, largest = self.sizes
        assert largest == self.image_size
        rng = default_rng(SeedSequence([self.seed, RunStream.SIZES, epoch]))
        return rng.choice(np.arange(smallest, largest + 1, SIZE_STEP), len(self))


@dataclass(frozen=True, eq=False)
class EvaluationBatches(_Loader):
    """Every image once, in the image set's order, as it is."""

    def __iter__(self) -> Iterator[Batch]:
        return self._batches(np.arange(len(self.image_set)), lambda pixels, _: (pixels,))


def _ahead(
    parts: Sequence[NDArray[np.int64]],
    sides: Sequence[int],
    make: Callable[[int, int], Image],
    assemble: Callable[[NDArray[np.int64], list[Image]], Batch],
    workers: int,
) -> Iterator[Batch]:
    """A batch for each part (B,) of the indices, whose images are made at its side by threads.

    One batch is made while the consumer has another, and two while it waits: memory is bounded whatever the number of
    images and of threads, all of which work on the same batch. Threads take tasks in the order of their arrival: all
    images of a batch are begun before what puts them together, which therefore never blocks those that it waits for.
    """
    with ThreadPoolExecutor(workers) as pool:

        def begin(indices: NDArray[np.int64], side: int) -> "Future[Batch]":
            images = [pool.submit(make, i, side) for i in indices.tolist()]
            return pool.submit(lambda: assemble(indices, [image.result() for image in images]))

        pending: deque[Future[Batch]] = deque()
        try:
            for indices, side in zip(parts, sides, strict=True):
                pending.append(begin(indices, side))
                if len(pending) > BATCHES_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:  # the consumer stopped early, or an image failed: nobody waits for the rest
            pool.shutdown(cancel_futures=True)
