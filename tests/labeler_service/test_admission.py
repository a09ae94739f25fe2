"""Admission: bounds hold exactly, every caller has its share, and nothing that was taken is forgotten."""

import asyncio
import time
from contextlib import ExitStack

import pytest

from labeler_service.admission import Admission, PixelBudget
from labeler_service.call_context import CallContext, current_call
from labeler_service.errors import RequestError


@pytest.fixture(autouse=True)
def _nobody_calls() -> None:
    current_call.set(CallContext())


def test_pixel_budget_is_first_come_first_served() -> None:
    """A large item would wait for ever while small ones slip past it."""
    order: list[str] = []

    async def hold(budget: PixelBudget, name: str, pixels: int) -> None:
        async with budget.hold(pixels):
            order.append(name)
            await asyncio.sleep(0.01)

    async def main() -> None:
        budget = PixelBudget(10)
        abandoned = asyncio.create_task(hold(budget, "first", 8))
        tasks = [asyncio.create_task(hold(budget, n, p)) for n, p in (("large", 50), ("small", 1), ("small", 1))]
        await asyncio.gather(abandoned, *tasks)
        async with budget.hold(10):
            order.append("all is free again")

    asyncio.run(asyncio.wait_for(main(), 10))
    assert order == ["first", "large", "small", "small", "all is free again"]


def test_of_two_callers_the_one_that_holds_less_is_next() -> None:
    """A bulk job whose items all wait already would keep an interactive caller out until it is done."""
    order: list[str] = []

    async def hold(budget: PixelBudget, caller: str) -> None:
        current_call.set(CallContext(caller=caller))
        async with budget.hold(1):
            order.append(caller)
            await asyncio.sleep(0.01)

    async def main() -> None:
        budget = PixelBudget(4)
        bulk = [asyncio.create_task(hold(budget, "bulk")) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.gather(*bulk, *(asyncio.create_task(hold(budget, "interactive")) for _ in range(2)))

    asyncio.run(asyncio.wait_for(main(), 10))
    assert order[4:6] == ["interactive"] * 2


def test_cancelled_waiters_leave_nothing_behind() -> None:
    """Pixels that a cancelled caller took with it would be missing for ever."""

    async def main() -> None:
        budget = PixelBudget(3)

        async def hold() -> None:
            async with budget.hold(2):
                await asyncio.sleep(0.001)

        for pause in range(30):
            tasks = [asyncio.create_task(hold()) for _ in range(4)]
            await asyncio.sleep(0.0001 * pause)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with budget.hold(3):
            assert budget.asked("anonymous") == 3
        assert budget.asked("anonymous") == 0

    asyncio.run(asyncio.wait_for(main(), 10))


def enter(admission: Admission, caller: str, stack: ExitStack) -> bool:
    current_call.set(CallContext(caller=caller))
    try:
        stack.enter_context(admission.enter())
    except RequestError:
        return False
    return True


def test_exactly_the_bound_is_let_in() -> None:
    admission = Admission(PixelBudget(100), 8, 1.0, 1)
    with ExitStack() as stack:
        assert [enter(admission, "a", stack) for _ in range(10)] == [True] * 8 + [False] * 2
    with ExitStack() as stack:
        assert [enter(admission, "a", stack) for _ in range(9)] == [True] * 8 + [False]


def test_one_caller_cannot_lock_another_out() -> None:
    """A caller that fills every place would leave none to others; nor may many callers add up without end."""
    admission = Admission(PixelBudget(100), 8, 1.0, 1)
    with ExitStack() as stack:
        assert sum(enter(admission, "greedy", stack) for _ in range(100)) == 8
        assert sum(enter(admission, "second", stack) for _ in range(100)) == 4
        assert sum(enter(admission, "third", stack) for _ in range(100)) == 2
        assert not enter(admission, "greedy", stack)


async def work(budget: PixelBudget, pixels: int) -> None:
    async with budget.hold(pixels):
        await asyncio.sleep(0.3)


def test_work_that_takes_too_long_is_refused() -> None:
    """Without a bound in seconds a slow device's queue is as long as a fast one's."""

    async def main() -> None:
        budget = PixelBudget(1000)
        admission = Admission(budget, 100, 0.5, 10)

        await work(budget, 30)  # at most 100 pixels a second
        busy = [asyncio.create_task(work(budget, 40)) for _ in range(2)]
        await asyncio.sleep(0)
        assert budget.seconds_ahead("anonymous") > 0.5
        with pytest.raises(RequestError) as caught, admission.enter():
            pass
        assert caught.value.reason == "OVERLOADED"
        assert caught.value.retry_after_seconds is not None
        await asyncio.gather(*busy)
        with admission.enter():
            pass

    asyncio.run(asyncio.wait_for(main(), 10))


def test_work_that_cannot_be_in_time_is_refused_at_once() -> None:
    """It would be let in, wait until it is due, and be told so only then."""

    async def main() -> None:
        budget = PixelBudget(1000)
        admission = Admission(budget, 100, 60.0, 10)

        await work(budget, 30)  # at most 100 pixels a second
        busy = asyncio.create_task(work(budget, 40))
        await asyncio.sleep(0)
        current_call.set(CallContext(deadline=time.monotonic() + 0.1))
        with pytest.raises(RequestError) as caught, admission.enter():
            pass
        assert caught.value.reason == "OVERLOADED"
        current_call.set(CallContext(deadline=time.monotonic() + 60))
        with admission.enter():
            pass
        await busy

    asyncio.run(asyncio.wait_for(main(), 10))
