"""Groups views of equal shape into batches for the one thread that runs the device.

Knows neither images nor vocabularies: pixels in, embeddings out.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from labeler_service.backends import Backend, Normalization, OutOfDeviceMemoryError
from labeler_service.errors import DeviceLostError, ItemError
from labeler_service.images import Pixels

logger = logging.getLogger(__name__)
T = TypeVar("T")

Embedding = NDArray[np.float32]

# Small, so that padding a lone image costs little. Measured with the demo model on one CPU core, milliseconds per image
# in batches of 1, 2, 4, 8, 16, 32: 6.5, 4.5, 3.2, 2.3, 2.0, 2.0.
REPRODUCIBLE_BATCH_SIZE = 8


@dataclass(frozen=True)
class BatchLimits:
    """A batch holds at most `max_size` views and `max_pixels` pixels, but always one view.

    `padded`: every batch of a shape is filled up with zeros to that shape's capacity. Kernels are chosen by shape, so
    a row then has the same bits whatever its neighbours are.
    """

    max_pixels: int
    max_size: int
    padded: bool

    def capacity(self, height: int, width: int) -> int:
        """Views of that shape per batch."""
        max_size = min(self.max_size, REPRODUCIBLE_BATCH_SIZE) if self.padded else self.max_size
        return max(1, min(max_size, self.max_pixels // (height * width)))


@dataclass(frozen=True)
class Encoded:
    """A view's unit embedding, float32 (D,), or why there is none; seconds it waited, and its share of its batch."""

    outcome: Embedding | ItemError
    queue_seconds: float
    device_seconds: float


@dataclass(frozen=True)
class _Shape:
    """What views of one batch have in common."""

    height: int
    width: int
    normalization: Normalization


@dataclass(eq=False)
class _Job:
    pixels: Pixels
    future: asyncio.Future[Encoded]
    queued_at: float = field(default_factory=time.perf_counter)


class PixelBudget:
    """Bounds the decoded pixels in memory: a turnstile, first come first served."""

    def __init__(self, pixels: int) -> None:
        self._capacity = self._free = pixels
        self._turn = asyncio.Lock()
        self._released = asyncio.Event()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Waits until that many pixels are free; more than there are in all waits for all of them."""
        pixels = min(pixels, self._capacity)
        async with self._turn:
            while self._free < pixels:
                self._released.clear()
                await self._released.wait()
            self._free -= pixels
        try:
            yield
        finally:
            self._free += pixels
            self._released.set()


class Batcher:
    """Runs the backend. A free device takes what is waiting at once; what arrives meanwhile makes the next batch.

    The oldest view decides which shape is next, so that no shape starves. Work whose caller has gone (cancelled, or
    past its deadline) is dropped before the device sees it. `lost` is set when the device failed for good.
    """

    def __init__(self, backend: Backend, limits: BatchLimits) -> None:
        self._backend = backend
        self._limits = limits
        self._queues: dict[_Shape, deque[_Job]] = {}
        self._arrived = asyncio.Event()
        self._device_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        self.lost = asyncio.Event()
        self._worker = asyncio.create_task(self._work())

    async def encode(self, pixels: Pixels, normalization: Normalization) -> Encoded:
        """Embeds one view, uint8 (H, W, 3). Raises DeviceLostError."""
        if self.lost.is_set():
            raise DeviceLostError
        job = _Job(pixels, asyncio.get_running_loop().create_future())
        shape = _Shape(pixels.shape[0], pixels.shape[1], normalization)
        self._queues.setdefault(shape, deque()).append(job)
        self._arrived.set()
        return await job.future

    async def run_on_device(self, function: Callable[[], T]) -> T:
        """Runs a function on the device's thread, between batches."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._device_thread, function)
        except DeviceLostError:
            self.lost.set()
            raise

    async def close(self) -> None:
        """Stops when the running batch is done."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._device_thread.shutdown()

    async def _work(self) -> None:
        jobs: list[_Job] = []
        try:
            while True:
                await self._arrived.wait()
                if not self._queues:
                    self._arrived.clear()
                    continue
                shape, jobs = self._take()
                if jobs:
                    await self._run(shape, jobs)
        except Exception:
            logger.exception("the device is lost")
            self.lost.set()
            for job in [*jobs, *(job for queue in self._queues.values() for job in queue)]:
                if not job.future.done():
                    job.future.set_exception(DeviceLostError())

    def _take(self) -> tuple[_Shape, list[_Job]]:
        """The next batch; empty when all of its callers have gone."""
        shape = min(self._queues, key=lambda shape: self._queues[shape][0].queued_at)
        queue = self._queues[shape]
        capacity = self._limits.capacity(shape.height, shape.width)
        jobs: list[_Job] = []
        while queue and len(jobs) < capacity:
            job = queue.popleft()
            if not job.future.done():
                jobs.append(job)
        if not queue:
            del self._queues[shape]
        return shape, jobs

    async def _run(self, shape: _Shape, jobs: list[_Job]) -> None:
        pixels = [job.pixels for job in jobs]
        started = time.perf_counter()
        outcomes = await self.run_on_device(lambda: self._encode(shape, pixels))
        share = (time.perf_counter() - started) / len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if not job.future.done():
                job.future.set_result(Encoded(outcome, started - job.queued_at, share))

    def _encode(self, shape: _Shape, pixels: list[Pixels]) -> list[Embedding | ItemError]:
        """Halves a batch that fails until those that fail by themselves are found; the others are embedded."""
        try:
            return self._encode_batch(shape, pixels)
        except DeviceLostError:
            raise
        except OutOfDeviceMemoryError:
            logger.warning("%d views of %d x %d do not fit the device", len(pixels), shape.width, shape.height)
            failure = ItemError(
                "OUT_OF_DEVICE_MEMORY", "the view does not fit the device", code=grpc.StatusCode.INTERNAL
            )
        except Exception:
            logger.exception("a batch of %d views failed", len(pixels))
            failure = ItemError("ENCODING_FAILED", "the view could not be encoded", code=grpc.StatusCode.INTERNAL)
        # Outside of the handlers, whose tracebacks hold the failed batch's memory.
        if len(pixels) == 1:
            return [failure]
        half = len(pixels) // 2
        return self._encode(shape, pixels[:half]) + self._encode(shape, pixels[half:])

    def _encode_batch(self, shape: _Shape, pixels: list[Pixels]) -> list[Embedding | ItemError]:
        size = self._limits.capacity(shape.height, shape.width) if self._limits.padded else len(pixels)
        batch_BHW3 = np.zeros((size, shape.height, shape.width, 3), dtype=np.uint8)
        np.stack(pixels, out=batch_BHW3[: len(pixels)])
        embeddings_BD = self._backend.encode_images(batch_BHW3, shape.normalization)
        return [_check_finite(row_D) for row_D in embeddings_BD[: len(pixels)]]


def _check_finite(row_D: Embedding) -> Embedding | ItemError:
    if np.isfinite(row_D).all():
        return row_D
    return ItemError("NON_FINITE", "the model gave values that are not finite", code=grpc.StatusCode.INTERNAL)
