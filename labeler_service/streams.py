"""Works on a stream of items with a bounded number in flight. Knows nothing of what the work is."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def map_bounded(
    items: AsyncIterator[T], work: Callable[[T], Coroutine[Any, Any, R]], *, max_in_flight: int
) -> AsyncGenerator[list[R], None]:
    """Results as they finish, in bunches of whatever is there.

    Reading stops while `max_in_flight` items are in work, or wait for the caller to take their results: over gRPC, flow
    control then slows the sender down. When the caller stops or an item raises, all work is cancelled. No item is None.
    """

    async def read() -> T | None:
        return await anext(items, None)

    reading: asyncio.Task[T | None] | None = asyncio.create_task(read())
    working: set[asyncio.Task[R]] = set()
    try:
        while reading or working:
            tasks: set[asyncio.Task[R] | asyncio.Task[T | None]] = set(working)
            if reading and len(working) < max_in_flight:
                tasks.add(reading)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if reading and reading.done() and len(working) < max_in_flight:
                item = reading.result()
                reading = None if item is None else asyncio.create_task(read())
                if item is not None:
                    working.add(asyncio.create_task(work(item)))
            finished = [task for task in working if task.done()]
            working.difference_update(finished)
            if finished:
                yield [task.result() for task in finished]
    finally:
        remaining = [*working, *([reading] if reading else [])]
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
