"""map_bounded: every item once, never more in flight than allowed, and nothing left running."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeler_service.streams import map_bounded


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 6))
def test_every_item_once_and_bounded(delays: list[int], limit: int) -> None:
    running = most = 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(delays[number]):
            await asyncio.sleep(0)
        running -= 1
        return number

    async def main() -> list[int]:
        results = map_bounded(numbers(len(delays)), work, max_in_flight=limit)
        return [result async for bunch in results for result in bunch]

    assert sorted(asyncio.run(main())) == list(range(len(delays)))
    assert most <= limit


def test_error_cancels_the_rest() -> None:
    """Work of a stream that failed would go on unseen."""
    cancelled = []

    async def work(number: int) -> int:
        if number == 2:
            raise ValueError("bad item")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    async def main() -> None:
        async with aclosing(map_bounded(numbers(9), work, max_in_flight=3)) as bunches:
            async for _ in bunches:
                pass

    with pytest.raises(ValueError, match="bad item"):
        asyncio.run(asyncio.wait_for(main(), 10))
    assert sorted(cancelled) == [0, 1]


def test_error_of_the_source_is_raised() -> None:
    """A bad second message must fail the call, not end it."""

    async def source() -> AsyncIterator[int]:
        yield 1
        raise ValueError("bad message")

    async def work(number: int) -> int:
        return number

    async def main() -> list[list[int]]:
        return [bunch async for bunch in map_bounded(source(), work, max_in_flight=3)]

    with pytest.raises(ValueError, match="bad message"):
        asyncio.run(main())
