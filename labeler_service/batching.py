"""Groups views of equal shape into batches and runs them on the device.

Knows neither images nor vocabularies: pixels in, embeddings out.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from labeler_service import metrics
from labeler_service.backends import (
    Backend,
    Computed,
    Embeddings,
    Normalization,
    OutOfDeviceMemoryError,
    Pending,
)
from labeler_service.cpu import yield_to_callers
from labeler_service.errors import DeviceLostError, ItemError, RequestError
from labeler_service.images import Pixels
from labeler_service.progress import Progress, RunningBatch
from labeler_service.queueing import FairQueue, Job, Shape

logger = logging.getLogger(__name__)
T = TypeVar("T")

Embedding = NDArray[np.float32]

# Small, so that padding a lone image costs little. Measured with the demo model on one CPU core, milliseconds per image
# in batches of 1, 2, 4, 8, 16, 32: 6.5, 4.5, 3.2, 2.3, 2.0, 2.0.
REPRODUCIBLE_BATCH_SIZE = 8


@dataclass(frozen=True)
class BatchLimits:
    """A batch holds at most `max_size` views and `max_pixels` pixels, but always one view.

    `even`: the number of views is a power of two, since a library that prepares kernels for each size keeps them: with
    any number, oneDNN's filled 600 MB in a minute of mixed work, with these 100.
    `padded`: every batch of a shape is filled up with zeros to that shape's capacity. Kernels are chosen by shape, so
    a row then has the same bits whatever its neighbours are.
    """

    max_pixels: int
    max_size: int
    padded: bool
    even: bool = False

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
class _Failed:
    """A batch that could not even start."""

    error: Exception

    def result(self) -> Embeddings:
        raise self.error


@dataclass(frozen=True)
class _Batch:
    """What the device works on, or the outcomes where it has computed them at once."""

    jobs: list[Job]
    watch: RunningBatch
    pending: Pending | list[Embedding | ItemError]


def make_device_thread() -> ThreadPoolExecutor:
    """The one thread that runs the backend, from loading it on. Each thread that computes has threads of OpenMP's
    beside it for good, and where these are more than cores, all of them wait asleep: a lone view then took 12 ms more.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="device", initializer=yield_to_callers)


class Batcher:
    """Runs the backend. A free device takes what is waiting at once; what arrives meanwhile makes the next batch.

    FairQueue decides what is next. Work whose caller has gone, or whose deadline is nearer than the least that its
    batch will take, is dropped before the device sees it. `lost` is set when the device failed for good.
    `device_thread` is the one that loaded the backend.
    """

    def __init__(self, backend: Backend, limits: BatchLimits, device_thread: ThreadPoolExecutor | None = None) -> None:
        self.progress = Progress()
        self.lost = asyncio.Event()
        self._backend = backend
        self._limits = limits
        self._fitting: dict[Shape, int] = {}  # views per batch that the device's memory was found to hold
        self._queue = FairQueue(self._drop)
        self._running: list[Job] = []
        metrics.QUEUED_VIEWS.set_function(lambda: self._queue.num_views)
        metrics.QUEUED_PIXELS.set_function(lambda: self._queue.num_pixels)
        self._arrived = asyncio.Event()
        self._device_thread = device_thread or make_device_thread()
        self._worker = asyncio.create_task(self._work())

    async def encode(self, pixels: Pixels, normalization: Normalization) -> Encoded:
        """Embeds one view, uint8 (H, W, 3). Raises DeviceLostError, or RequestError past the caller's deadline."""
        if self.lost.is_set():
            raise DeviceLostError
        shape = Shape(pixels.shape[0], pixels.shape[1], normalization)
        job = Job(pixels, shape, asyncio.get_running_loop().create_future())
        self._queue.push(job)
        self._arrived.set()
        encoded: Encoded = await job.future
        return encoded

    async def run_on_device(self, function: Callable[[], T]) -> T:
        """Runs a function on the device's thread, between batches."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._device_thread, _guarded, function)
        except DeviceLostError:
            self.lose()
            raise

    def lose(self) -> None:
        """Gives the device up: everything that waits fails with DeviceLostError, as does all that comes."""
        self.lost.set()
        for job in [*self._running, *self._queue.drain()]:
            _fail(job, DeviceLostError())

    async def close(self) -> None:
        """Stops when the running batch is done."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._device_thread.shutdown(wait=not self.lost.is_set())  # a lost device may never answer

    async def _work(self) -> None:
        running: _Batch | None = None
        try:
            while True:
                if running is None:
                    await self._arrived.wait()
                started = await self._start()
                if running is not None:
                    await self._finish(running)
                running = started
                # A device that computes at once is done; another gets its next batch before it is asked for this one.
                if running is not None and isinstance(running.pending, list):
                    await self._finish(running)
                    running = None
        except Exception:
            logger.exception("the device is lost")
            self.lose()

    async def _start(self) -> _Batch | None:
        """Gives the device its next batch, if any view waits."""
        jobs = self._queue.take(self._next_size)
        if not jobs:
            self._arrived.clear()
            return None
        self._running += jobs
        shape, pixels = jobs[0].shape, [job.pixels for job in jobs]
        watch = self.progress.start(shape, len(jobs))
        return _Batch(jobs, watch, await self.run_on_device(lambda: self._begin_or_compute(shape, pixels)))

    async def _finish(self, batch: _Batch) -> None:
        jobs = batch.jobs
        shape, pixels = jobs[0].shape, [job.pixels for job in jobs]
        pending = batch.pending
        outcomes = (
            pending
            if isinstance(pending, list)
            else await self.run_on_device(lambda: self._end(shape, pixels, pending))
        )
        seconds = self.progress.end(batch.watch, completed=True)
        self._running = [job for job in self._running if job not in jobs]
        bucket = metrics.bucket_label(shape.height, shape.width)
        metrics.BATCH_SIZE.labels(bucket).observe(len(jobs))
        metrics.DEVICE_SECONDS.labels(bucket).observe(seconds)
        for job, outcome in zip(jobs, outcomes, strict=True):
            waited = batch.watch.started - job.queued_at
            metrics.QUEUE_SECONDS.labels(metrics.caller_label(job.caller)).observe(waited)
            if not job.future.done():
                job.future.set_result(Encoded(outcome, waited, seconds / len(jobs)))

    def capacity(self, height: int, width: int) -> int:
        """Views of that shape that make a full batch."""
        return self._limits.capacity(height, width)

    def _capacity(self, shape: Shape) -> int:
        capacity = self._limits.capacity(shape.height, shape.width)
        return min(capacity, self._fitting.get(shape, capacity))

    def _next_size(self, shape: Shape) -> int:
        """Views of that shape in the next batch, if nobody has gone; at least 1."""
        size = max(1, min(self._capacity(shape), self._queue.num_waiting[shape]))
        return 1 << (size.bit_length() - 1) if self._limits.even else size

    def _drop(self, job: Job) -> bool:
        """Whether nobody would see this job's result."""
        if job.future.done():
            metrics.DROPPED.labels("cancelled").inc()
            return True
        least = self.progress.least_seconds(job.shape, self._next_size(job.shape))
        if job.deadline is None or job.deadline - time.monotonic() >= least:
            return False
        self.progress.doubt(job.shape)
        metrics.DROPPED.labels("deadline").inc()
        message = "the deadline is nearer than the device can be"
        _fail(job, RequestError("DEADLINE_TOO_NEAR", message, code=grpc.StatusCode.DEADLINE_EXCEEDED))
        return True

    # On the device's thread.

    def _begin_or_compute(self, shape: Shape, pixels: list[Pixels]) -> Pending | list[Embedding | ItemError]:
        pending = self._begin(shape, pixels)
        return self._end(shape, pixels, pending) if isinstance(pending, Computed | _Failed) else pending

    def _begin(self, shape: Shape, pixels: list[Pixels]) -> Pending:
        batch_BHW3 = np.zeros((self._batch_size(shape, pixels), shape.height, shape.width, 3), dtype=np.uint8)
        np.stack(pixels, out=batch_BHW3[: len(pixels)])
        try:
            return self._backend.submit(batch_BHW3, shape.normalization)
        except DeviceLostError:
            raise
        except Exception as error:
            return _Failed(error.with_traceback(None))  # A traceback would hold on to the batch's memory.

    def _end(self, shape: Shape, pixels: list[Pixels], pending: Pending) -> list[Embedding | ItemError]:
        """Halves a batch that failed until those that fail by themselves are found; the others are embedded."""
        try:
            return [_check_finite(row_D) for row_D in pending.result()[: len(pixels)]]
        except DeviceLostError:
            raise
        except OutOfDeviceMemoryError:
            size = self._batch_size(shape, pixels)
            logger.warning("%d views of %d x %d do not fit the device", size, shape.width, shape.height)
            self._fitting[shape] = max(1, size // 2)
            hopeless = size == 1
            failure = ItemError(
                "OUT_OF_DEVICE_MEMORY", "the view does not fit the device", code=grpc.StatusCode.RESOURCE_EXHAUSTED
            )
        except Exception:
            logger.exception("a batch of %d views failed", len(pixels))
            hopeless = len(pixels) == 1
            failure = ItemError("ENCODING_FAILED", "the view could not be encoded", code=grpc.StatusCode.INTERNAL)
        if hopeless:
            return [failure]
        half = (len(pixels) + 1) // 2
        halves = [part for part in (pixels[:half], pixels[half:]) if part]
        return [outcome for part in halves for outcome in self._end(shape, part, self._begin(shape, part))]

    def _batch_size(self, shape: Shape, pixels: list[Pixels]) -> int:
        return max(self._capacity(shape), len(pixels)) if self._limits.padded else len(pixels)


def _guarded(function: Callable[[], T]) -> T:
    """What would end the device's thread, such as SystemExit, would otherwise end the event loop that waits for it."""
    try:
        return function()
    except Exception:
        raise
    except BaseException as error:
        raise DeviceLostError from error


def _fail(job: Job, error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)


def _check_finite(row_D: Embedding) -> Embedding | ItemError:
    if np.isfinite(row_D).all():
        return row_D
    return ItemError("NON_FINITE", "the model gave values that are not finite", code=grpc.StatusCode.INTERNAL)
