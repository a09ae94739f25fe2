"""The views that wait for the device, and which of them it takes next. Knows neither asyncio tasks nor the device.

Callers share the device by pixels: the next batch starts with the caller that has had the least of it, and goes on with
views of the same shape, always of the caller that has had the least. Within a caller the most urgent view comes first.
"""

import asyncio
import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from labeler_service.backends import Normalization
from labeler_service.call_context import current_call
from labeler_service.images import Pixels

# A view without a deadline, or with a far one, is as urgent as one that is due after this: none waits for ever.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Shape:
    """What views of one batch have in common; height and width in pixels."""

    height: int
    width: int
    normalization: Normalization

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(eq=False)
class Job:
    """One view on its way. `deadline` is in seconds of time.monotonic(); None: it has none."""

    pixels: Pixels
    shape: Shape
    future: asyncio.Future[Any]
    caller: str = field(default_factory=lambda: current_call.get().caller)
    deadline: float | None = field(default_factory=lambda: current_call.get().deadline)
    queued_at: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> float:
        patient = self.queued_at + PATIENCE_SECONDS
        return patient if self.deadline is None else min(self.deadline, patient)


_Heap = list[tuple[float, int, Job]]


class FairQueue:
    """Jobs by caller and shape.

    `drop(job)` is asked before a job is taken: True takes it out of the queue for good.
    """

    def __init__(self, drop: Callable[[Job], bool]) -> None:
        self._drop = drop
        self._jobs: dict[str, dict[Shape, _Heap]] = {}
        self._numbers = itertools.count()
        # Start-time fair queueing (Goyal, Vin, Cheng 1996): pixels that a caller was given, on a common clock, which
        # stands where the caller is that was served last. Who comes back from a pause gets no credit for it.
        self._served: dict[str, int] = {}
        self._clock = 0
        self.num_waiting: Counter[Shape] = Counter()

    @property
    def num_views(self) -> int:
        return self.num_waiting.total()

    @property
    def num_pixels(self) -> int:
        return sum(number * shape.pixels for shape, number in self.num_waiting.items())

    def push(self, job: Job) -> None:
        if job.caller not in self._jobs:
            self._served[job.caller] = max(self._clock, self._served.get(job.caller, 0))
        self.num_waiting[job.shape] += 1
        heaps = self._jobs.setdefault(job.caller, {})
        heapq.heappush(heaps.setdefault(job.shape, []), (job.due, next(self._numbers), job))

    def take(self, capacity: Callable[[Shape], int]) -> list[Job]:
        """The next batch, all of one shape and at most `capacity` of it; empty when nothing waits."""
        heads = [(self._served[caller], *head) for caller in list(self._jobs) if (head := self._head(caller))]
        if not heads:
            return []
        shape = min(heads)[-1].shape
        size = capacity(shape)
        jobs: list[Job] = []
        while len(jobs) < size and (job := self._pop(shape)):
            jobs.append(job)
        self._forget()
        return jobs

    def drain(self) -> Iterator[Job]:
        """Takes out all jobs, in no order."""
        callers, self._jobs = self._jobs, {}
        self.num_waiting.clear()
        for heaps in callers.values():
            for heap in heaps.values():
                yield from (job for _, _, job in heap)

    def _pop(self, shape: Shape) -> Job | None:
        heads = [(self._served[caller], *head) for caller in list(self._jobs) if (head := self._head_of(caller, shape))]
        if not heads:
            return None
        served, _, _, job = min(heads)
        heapq.heappop(self._jobs[job.caller][shape])
        self._uncount(job)
        self._clock = max(self._clock, served)
        self._served[job.caller] = served + shape.pixels
        return job

    def _head(self, caller: str) -> tuple[float, int, Job] | None:
        """The caller's most urgent job."""
        heads = [head for shape in list(self._jobs[caller]) if (head := self._head_of(caller, shape))]
        return min(heads, default=None)

    def _head_of(self, caller: str, shape: Shape) -> tuple[float, int, Job] | None:
        heaps = self._jobs.get(caller, {})
        heap = heaps.get(shape, [])
        while heap and self._drop(heap[0][-1]):
            self._uncount(heapq.heappop(heap)[-1])
        if heap:
            return heap[0]
        heaps.pop(shape, None)
        if not heaps:
            self._jobs.pop(caller, None)
        return None

    def _uncount(self, job: Job) -> None:
        self.num_waiting[job.shape] -= 1
        if not self.num_waiting[job.shape]:
            del self.num_waiting[job.shape]

    def _forget(self) -> None:
        """Callers that have nothing here and are not ahead of the clock are as good as new."""
        for caller in [c for c, served in self._served.items() if c not in self._jobs and served <= self._clock]:
            del self._served[caller]
