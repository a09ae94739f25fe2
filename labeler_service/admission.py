"""Who may enter, and when: bounds the requests and the decoded pixels in flight, with a fair share for each caller.

Unary requests over a bound are refused at once, since a caller that waits times out and has its work done in vain.
Streams wait instead: the server stops reading from them, and flow control slows the sender.
"""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import grpc

from labeler_service.call_context import current_call
from labeler_service.errors import RequestError

# What a refused caller is told to wait at the least, and at most.
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.05, 5.0
# The rate of work is known after this time of work, and forgets what is much longer ago than that: several batches.
MIN_RATE_SECONDS, RATE_MEMORY_SECONDS = 0.25, 5.0


class PixelBudget:
    """Bounds the decoded pixels in memory. Of the callers that wait, the one that holds least is next."""

    def __init__(self, pixels: int) -> None:
        self._capacity = self._free = pixels
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}
        self._asked: Counter[str] = Counter()  # held or waited for
        self._rate = _Rate()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Waits until that many pixels are free; more than there are in all waits for all of them."""
        caller, pixels = current_call.get().caller, min(pixels, self._capacity)
        self._rate.start(idle=not self._asked)
        self._asked[caller] += pixels
        try:
            await self._wait(caller, pixels)
            try:
                yield
                self._rate.add(pixels)
            finally:
                self._free += pixels
                self._held[caller] -= pixels
        finally:
            self._asked[caller] -= pixels
            self._asked += Counter()  # drops those at zero
            self._grant()

    async def _wait(self, caller: str, pixels: int) -> None:
        if pixels <= self._free and not self._waiting:
            self._free -= pixels
            self._held[caller] += pixels
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append((pixels, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():  # granted and cancelled in one turn of the loop
                self._free += pixels
                self._held[caller] -= pixels
            raise

    def _grant(self) -> None:
        while self._waiting:
            caller = min(self._waiting, key=lambda caller: self._held[caller])
            queue = self._waiting[caller]
            pixels, granted = queue[0]
            if not granted.done():
                if pixels > self._free:
                    return
                self._free -= pixels
                self._held[caller] += pixels
                granted.set_result(None)
            queue.popleft()
            if not queue:
                del self._waiting[caller]

    def asked(self, caller: str) -> int:
        """Pixels that the caller holds or waits for."""
        return self._asked[caller]

    def seconds_ahead(self, caller: str, more: int = 0) -> float:
        """Time until what the caller asked for, and `more` pixels, are done, at its share of the rate of late; 0 while
        that is unknown."""
        pixels = (self._asked[caller] + more) * max(1, len(self._asked))
        return pixels / self._rate.value if self._rate.value else 0.0


class Admission:
    """Lets unary requests in. Each caller's share of `max_requests` is one part for each caller that has any in flight.

    A caller whose work in flight, and a batch more, takes longer than `max_queue_seconds`, or than the time until the
    request is due, is refused too, but never with less than a batch of `batch_pixels` in flight.
    """

    def __init__(self, budget: PixelBudget, max_requests: int, max_queue_seconds: float, batch_pixels: int) -> None:
        self._budget = budget
        self._max_requests = max_requests
        self._max_queue_seconds = max_queue_seconds
        self._batch_pixels = batch_pixels
        self._requests: Counter[str] = Counter()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Around one request. Raises RequestError (RESOURCE_EXHAUSTED, with the time after which to try again)."""
        call = current_call.get()
        caller = call.caller
        others = sum(name != caller for name in self._requests)
        wait = self._budget.seconds_ahead(caller, more=self._batch_pixels)
        if self._requests[caller] >= max(1, self._max_requests // (others + 1)):
            raise _overloaded(f"{self._requests[caller]} of your requests are in flight", wait / 2)
        patience = self._max_queue_seconds
        if call.deadline is not None:
            patience = min(patience, call.deadline - time.monotonic())
        if wait > patience and self._budget.asked(caller) >= self._batch_pixels:
            raise _overloaded(f"your work in flight takes {wait:.1f} s more", wait - patience)
        self._requests[caller] += 1
        try:
            yield
        finally:
            self._requests[caller] -= 1
            self._requests += Counter()


def _overloaded(reason: str, wait: float) -> RequestError:
    wait = min(max(wait, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)
    return RequestError(
        "OVERLOADED",
        f"{reason}: try again in {wait:.2f} s",
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        retry_after_seconds=wait,
    )


class _Rate:
    """Pixels a second while there is work, of late."""

    def __init__(self) -> None:
        self._pixels = self._seconds = 0.0
        self._since = 0.0

    @property
    def value(self) -> float | None:
        """None while too little was done to tell."""
        return self._pixels / self._seconds if self._seconds >= MIN_RATE_SECONDS else None

    def start(self, *, idle: bool) -> None:
        """Work arrives; `idle`: after there was none."""
        if idle:
            self._since = time.monotonic()

    def add(self, pixels: int) -> None:
        """Work is done. That of a batch comes all at once, after a time with none: both are kept, not each moment's."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        kept = math.exp(-seconds / RATE_MEMORY_SECONDS)
        self._seconds = kept * self._seconds + seconds
        self._pixels = kept * self._pixels + pixels
