"""map_bounded: every item once, never more in flight than allowed, and nothing left running."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeler_service.streams import StoppedError, map_bounded


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
        results = map_bounded(numbers(len(delays)), work, max_in_flight=limit, stop=asyncio.Event())
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
        async with aclosing(map_bounded(numbers(9), work, max_in_flight=3, stop=asyncio.Event())) as bunches:
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
        return [bunch async for bunch in map_bounded(source(), work, max_in_flight=3, stop=asyncio.Event())]

    with pytest.raises(ValueError, match="bad message"):
        asyncio.run(main())


def test_stop_ends_the_reading_but_not_the_work() -> None:
    """A server that stops would lose what it has read, or read on for ever; one that says nothing hides the rest."""
    results: list[int] = []

    async def work(number: int) -> int:
        await asyncio.sleep(0.01)
        return number

    async def main() -> None:
        stop = asyncio.Event()
        async for bunch in map_bounded(numbers(10**6), work, max_in_flight=3, stop=stop):
            results.extend(bunch)
            if len(results) >= 10:
                stop.set()

    with pytest.raises(StoppedError):
        asyncio.run(asyncio.wait_for(main(), 10))
    assert sorted(results) == list(range(len(results)))
    assert 10 <= len(results) <= 20


def test_stop_after_the_end_hides_nothing() -> None:
    """A stream that was read to its end is complete: its caller would start it again for nothing."""

    async def main() -> list[list[int]]:
        stop = asyncio.Event()

        async def work(number: int) -> int:
            await asyncio.sleep(0.01)
            stop.set()
            return number

        return [bunch async for bunch in map_bounded(numbers(3), work, max_in_flight=3, stop=stop)]

    assert sorted(number for bunch in asyncio.run(main()) for number in bunch) == [0, 1, 2]
