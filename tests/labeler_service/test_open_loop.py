"""Requests that come whatever the server does: with more than it can answer it does as much as ever, not less."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import grpc
import numpy as np
import pytest

from labeler_service.admission import Admission
from labeler_service.batching import Batcher

ImageBytes = Callable[..., bytes]
Serve = Callable[..., int]
Outcomes = dict[grpc.StatusCode | str, list[float]]  # seconds, by status or "health"

BATCH_SIZE, BATCH_SECONDS = 4, 0.1
DEADLINE, QUEUE_SECONDS = 2.0, 1.0


async def overload(client: Any, content: bytes, rate: float, seconds: float) -> Outcomes:
    """`rate` requests a second at random moments, and a health check every 50 ms."""
    outcomes: Outcomes = defaultdict(list)

    async def timed(name: grpc.StatusCode | str, call: Any) -> None:
        start = time.perf_counter()
        try:
            await call
        except grpc.aio.AioRpcError as error:
            name = error.code()
        outcomes[name].append(time.perf_counter() - start)

    async def check_health() -> None:
        while True:
            await timed("health", client.is_serving())
            await asyncio.sleep(0.05)

    checking = asyncio.create_task(check_health())
    calls = []
    due = start = time.perf_counter()
    chance = random.Random(0)
    while (due := due + chance.expovariate(rate)) < start + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        calls.append(asyncio.create_task(timed(grpc.StatusCode.OK, client.embed(content, timeout=DEADLINE))))
    await asyncio.gather(*calls)
    checking.cancel()
    return outcomes


def p99(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 99))


def goodput(outcomes: Outcomes, seconds: float) -> float:
    """Of what the device can do."""
    return len(outcomes[grpc.StatusCode.OK]) / seconds / (BATCH_SIZE / BATCH_SECONDS)


@pytest.fixture
def overloaded(fake_device: Any, serve: Serve, image_bytes: ImageBytes) -> Callable[[float, float], Outcomes]:
    """overloaded(load, seconds): what came of requests at `load` times what the device can do."""

    def run(load: float, seconds: float) -> Outcomes:
        found: list[Outcomes] = []
        fake_device.seconds = BATCH_SECONDS
        fake_device.free.set()

        async def test(client: Any) -> None:
            await client.until_serving()
            await asyncio.gather(*(client.embed(image_bytes(0)) for _ in range(3 * BATCH_SIZE)))  # its speed is known
            found.append(await overload(client, image_bytes(0), load * BATCH_SIZE / BATCH_SECONDS, seconds))

        serve(test, seconds=seconds + 60, max_batch_size=BATCH_SIZE, max_queue_seconds=QUEUE_SECONDS, cache_bytes=0)
        return found[0]

    return run


def test_twice_what_it_can_do(overloaded: Any) -> None:
    """Seconds of overload would end in answers that all come too late."""
    outcomes = overloaded(2, 5.0)
    assert goodput(outcomes, 5.0) > 0.85  # of so short a time, its start and its end are a part
    assert set(outcomes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED, "health"}
    assert len(outcomes[grpc.StatusCode.RESOURCE_EXHAUSTED]) > 50


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.8, 2, 5])
def test_a_minute_of_it(load: float, overloaded: Any) -> None:
    outcomes = overloaded(load, 60.0)
    assert goodput(outcomes, 60.0) >= 0.95 * min(1.0, load)
    assert p99(outcomes[grpc.StatusCode.OK]) <= QUEUE_SECONDS + 2 * BATCH_SECONDS
    assert p99(outcomes["health"]) <= 0.1
    if load > 1:
        assert p99(outcomes[grpc.StatusCode.RESOURCE_EXHAUSTED]) <= 0.05
    assert set(outcomes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED, "health"}


@pytest.mark.slow
def test_the_check_fails_without_a_bound(overloaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most servers queue whatever comes, and compute it all in turn."""
    monkeypatch.setattr(Admission, "enter", lambda self: nullcontext())
    monkeypatch.setattr(Batcher, "_drop", lambda self, job: False)
    assert goodput(overloaded(2, 15.0), 15.0) < 0.5
