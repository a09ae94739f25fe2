"""Works on a stream of items with a bounded number in flight. Knows nothing of what the work is."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class StoppedError(Exception):
    """`stop` was set before all items were read."""


async def map_bounded(
    items: AsyncIterator[T], work: Callable[[T], Coroutine[Any, Any, R]], *, max_in_flight: int, stop: asyncio.Event
) -> AsyncGenerator[list[R], None]:
    """Results as they finish, in bunches of whatever is there.

    Reading stops while `max_in_flight` items are in work, or wait for the caller to take their results: over gRPC, flow
    control then slows the sender down. When `stop` is set, what was read is still worked on; then StoppedError is
    raised if there may have been more. When the caller stops or an item raises, all work is cancelled.
    """
    slots = asyncio.Semaphore(max_in_flight)
    working: set[asyncio.Task[R]] = set()
    finished: list[asyncio.Task[R]] = []
    wake = asyncio.Event()

    def finish(task: asyncio.Task[R]) -> None:
        working.discard(task)
        finished.append(task)
        wake.set()

    async def read() -> None:
        async for item in items:
            await slots.acquire()
            task = asyncio.create_task(work(item))
            working.add(task)
            task.add_done_callback(finish)

    reading, stopping = asyncio.create_task(read()), asyncio.create_task(stop.wait())
    reading.add_done_callback(lambda _: wake.set())
    stopping.add_done_callback(lambda _: reading.cancel())
    try:
        while working or finished or not reading.done():
            await wake.wait()
            wake.clear()
            if reading.done() and not reading.cancelled():
                reading.result()  # raises what ended the reading early
            bunch, finished = finished, []
            if bunch:
                yield [task.result() for task in bunch]
            for _ in bunch:
                slots.release()
        if reading.cancelled():
            raise StoppedError
    finally:
        remaining = [reading, stopping, *working]
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
