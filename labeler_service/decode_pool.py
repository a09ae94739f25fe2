"""A pool of processes that decode, so that hostile bytes can end one of them and never the server.

A worker that dies or hangs is replaced; the image that it was on is tried once more in a fresh worker, and the others
never hear of it. (concurrent.futures' own pool of processes fails every task that is queued, and stays broken.)

Threads would be no faster: in four runs of benchmarks/decode_pool.py on two cores that others used too, processes gave
1.0 to 1.6 times their images per second, for 1.14 times their CPU time. Workers come up while the model is loaded, so
that threads would not start sooner either, and there is no choice between them.
"""

import asyncio
import functools
import logging
import pickle
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import grpc
import numpy as np

from labeler_service import metrics
from labeler_service.decode_worker import FAILED, READY, REQUEST_HEADER, VIEW, VIEW_HEADER, DecodeTask, WorkerSettings
from labeler_service.errors import ItemError
from labeler_service.images import Pixels

logger = logging.getLogger(__name__)

WORKER_PROGRAM = ("-m", "labeler_service.decode_worker")
# Python with NumPy and Pillow takes 0.3 s of CPU to start (measured); a machine may be very busy.
START_SECONDS = 60.0
# A worker that has not answered after so many times its CPU limit hangs, or the machine is of no use. At a niceness of
# 15 it gets 3 % of a core that another program wants, and 10 % of one that the model wants.
WALL_SECONDS_PER_CPU_SECOND = 12
# A worker's own messages are shorter.
MAX_MESSAGE_BYTES = 1000

# Nearly all images of a server are wanted in a few ways, so that pickling them would be most of the work of sending.
_pickle_task = functools.lru_cache(1000)(pickle.dumps)


class _WorkerFailedError(Exception):
    """The worker must be replaced. `error` is what the image's caller is told."""

    def __init__(self, error: ItemError) -> None:
        super().__init__(error.message)
        self.error = error


class _CpuLimitError(_WorkerFailedError):
    """CPU time does not depend on how busy the machine is: another try would end in the same way."""


class _Worker:
    """One process and our end of its socket; used by one thread at a time."""

    def __init__(self, settings: WorkerSettings, program: Sequence[str]) -> None:
        self._settings = settings
        self._program = program
        self.start()

    def start(self) -> None:
        """Starts a process; it is ready later. Without fork, which gRPC does not survive."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, *self._program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,  # The server's own says when it is to stop.
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._is_ready = False

    def wait_until_ready(self) -> None:
        """Raises _WorkerFailedError."""
        if self._is_ready:
            return
        self._set_timeout(START_SECONDS)
        self._send(pickle.dumps(self._settings), b"")
        if self._receive(len(READY)) != READY:
            raise self._failure()
        self._set_timeout(self._settings.cpu_seconds * WALL_SECONDS_PER_CPU_SECOND)
        self._is_ready = True

    def run(self, task: DecodeTask, content: bytes) -> list[Pixels | ItemError]:
        """Raises _WorkerFailedError, and ItemError where the image as a whole cannot be used."""
        self.wait_until_ready()
        self._send(_pickle_task(task), content)
        return [self._receive_view(task) for _ in range(task.num_views)]

    def stop(self) -> None:
        """It holds nothing that could be lost."""
        self._socket.close()
        self.process.kill()
        self.process.wait()

    def _receive_view(self, task: DecodeTask) -> Pixels | ItemError:
        kind, height, width, length = VIEW_HEADER.unpack(self._receive(VIEW_HEADER.size))
        max_width, max_height = task.geometry.global_size()  # No view of an image is larger.
        if kind == VIEW and height <= max_height and width <= max_width and length == height * width * 3:
            return np.frombuffer(self._receive(length), np.uint8).reshape(height, width, 3)
        if kind == VIEW or length > MAX_MESSAGE_BYTES:
            raise self._failure()
        reason, _, message = self._receive(length).decode(errors="replace").partition(" ")
        if kind == FAILED:
            raise ItemError(reason, message)
        return ItemError(reason, message)

    # The socket blocks with a timeout of the kernel's: one call without the interpreter's lock, however long the data.
    # So 640 x 640 pixels take 0.05 ms of our time, as much as a copy out of shared memory would (measured).

    def _set_timeout(self, seconds: float) -> None:
        timeval = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, timeval)

    def _send(self, pickled: bytes, content: bytes) -> None:
        parts = (REQUEST_HEADER.pack(len(pickled), len(content)), pickled, content)
        try:
            sent = self._socket.sendmsg(parts)
            if sent < sum(map(len, parts)):  # A signal or the timeout came in between.
                self._socket.sendall(memoryview(b"".join(parts))[sent:])
        except OSError as error:
            raise self._failure(timed_out=isinstance(error, BlockingIOError)) from None

    def _receive(self, size: int) -> bytearray:
        data = bytearray(size)
        received = 0
        while received < size:  # Once, unless a signal or the timeout comes in between.
            try:
                count = self._socket.recv_into(memoryview(data)[received:], 0, socket.MSG_WAITALL)
            except OSError as error:
                raise self._failure(timed_out=isinstance(error, BlockingIOError)) from None
            if count == 0:
                raise self._failure()
            received += count
        return data

    def _failure(self, *, timed_out: bool = False) -> _WorkerFailedError:
        self.stop()
        if self.process.returncode == -signal.SIGPROF:
            return _CpuLimitError(ItemError("DECODE_TIMEOUT", "image takes too long to decode"))
        if timed_out:
            return _WorkerFailedError(ItemError("DECODE_TIMEOUT", "the decoder hung", code=grpc.StatusCode.INTERNAL))
        return _WorkerFailedError(ItemError("DECODER_CRASHED", "the decoder crashed", code=grpc.StatusCode.INTERNAL))


@dataclass(eq=False)
class _Job:
    """One image on its way. `outcome` is set when it is done."""

    task: DecodeTask
    content: bytes
    future: asyncio.Future[tuple[list[Pixels | ItemError], float]]
    outcome: tuple[list[Pixels | ItemError], float] | Exception | None = None


class DecodePool:
    """Decodes in `num_workers` processes, which start with this object.

    `restarts` counts the workers that had to be replaced. `program` is what Python runs as a worker; tests give one
    that crashes on demand.
    """

    # Each worker has a thread that waits for it. An executor would add a second future for each image, and a byte
    # through the pipe that wakes the event loop, which here is woken once for all that is done. With messages that go
    # out in one piece, this took an image of benchmarks.labeler_transport from 0.75 ms of CPU time to 0.55.

    def __init__(self, settings: WorkerSettings, *, num_workers: int, program: Sequence[str] = WORKER_PROGRAM) -> None:
        self.restarts = 0
        self._workers = [_Worker(settings, program) for _ in range(num_workers)]
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: deque[_Job] = deque()
        self._delivering = False
        self._threads = [
            threading.Thread(target=self._run, args=(worker,), name="decode", daemon=True) for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    async def start(self) -> None:
        """Waits until all workers are up. Raises ValueError when one does not come up."""
        try:
            for worker in self._workers:
                await asyncio.to_thread(worker.wait_until_ready)
        except _WorkerFailedError as failure:
            self.close()
            raise ValueError(f"a decode worker did not start, the log above says why: {failure}") from None

    def close(self) -> None:
        """Waits for the images that are being decoded and ends the workers; those that wait are dropped."""
        with suppress(queue.Empty):
            while job := self._waiting.get_nowait():
                job.future.cancel()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.stop()

    async def decode(self, task: DecodeTask, content: bytes) -> tuple[list[Pixels | ItemError], float]:
        """The views of an image, in order, each uint8 (H, W, 3), and the seconds that they took.

        Raises ItemError when the image as a whole cannot be used. A caller that is cancelled before its task started
        costs nothing.
        """
        job = _Job(task, content, asyncio.get_running_loop().create_future())
        self._waiting.put(job)
        return await job.future

    def _deliver(self) -> None:
        """On the event loop: hands out all that is done."""
        self._delivering = False  # Before the first look: what comes after the last one calls again.
        while self._done:
            job = self._done.popleft()
            if job.future.done():
                continue
            if isinstance(job.outcome, Exception):
                job.future.set_exception(job.outcome)
            else:
                assert job.outcome is not None
                job.future.set_result(job.outcome)

    # On the threads.

    def _run(self, worker: _Worker) -> None:
        while job := self._waiting.get():
            if job.future.cancelled():
                continue
            started = time.perf_counter()
            try:
                job.outcome = self._try_twice(worker, job.task, job.content), time.perf_counter() - started
            except Exception as error:
                job.outcome = error
            self._done.append(job)
            if not self._delivering:
                self._delivering = True
                job.future.get_loop().call_soon_threadsafe(self._deliver)

    def _try_twice(self, worker: _Worker, task: DecodeTask, content: bytes) -> list[Pixels | ItemError]:
        """Twice, because a worker can die of what is no fault of the image: the machine's memory, an operator."""
        try:
            return self._try(worker, task, content)
        except _CpuLimitError as failure:
            raise failure.error from None
        except _WorkerFailedError:
            pass
        try:
            return self._try(worker, task, content)
        except _WorkerFailedError as failure:
            raise failure.error from None

    def _try(self, worker: _Worker, task: DecodeTask, content: bytes) -> list[Pixels | ItemError]:
        try:
            return worker.run(task, content)
        except _WorkerFailedError as failure:
            logger.warning("%s: %d bytes, exit status %d", failure, len(content), worker.process.returncode)
            self.restarts += 1
            metrics.DECODER_RESTARTS.inc()
            worker.start()
            raise
