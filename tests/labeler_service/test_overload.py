"""Promises under load, on a real server whose device can be held: exact bounds, fair shares, no work for the gone."""

import asyncio
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from labeler_service import metrics

ImageBytes = Callable[..., bytes]
Serve = Callable[..., int]


def dropped() -> float:
    return sum(s.value for family in metrics.DROPPED.collect() for s in family.samples if s.name.endswith("_total"))


def queued() -> float:
    return metrics.QUEUED_VIEWS.collect()[0].samples[0].value


async def codes(*calls: Any) -> Counter[grpc.StatusCode]:
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    return Counter(o.code() if isinstance(o, grpc.aio.AioRpcError) else grpc.StatusCode.OK for o in outcomes)


def test_exactly_those_over_the_bound_are_refused(fake_device: Any, serve: Serve, image_bytes: ImageBytes) -> None:
    """A bound that is off by some is no bound: memory and waiting time follow from it."""
    fake_device.free.set()

    async def test(client: Any) -> None:
        await client.until_serving()
        fake_device.free.clear()
        calls = [asyncio.create_task(client.embed(image_bytes(seed))) for seed in range(10)]
        await client.until(lambda: sum(call.done() for call in calls) == 2)
        fake_device.free.set()
        assert await codes(*calls) == {grpc.StatusCode.OK: 8, grpc.StatusCode.RESOURCE_EXHAUSTED: 2}

    serve(test, max_requests_in_flight=8)


def test_nothing_is_done_for_callers_that_are_gone(fake_device: Any, serve: Serve, image_bytes: ImageBytes) -> None:
    """After an overload the device would work on for minutes, for nobody, and be late for everybody else."""
    fake_device.free.set()
    images = [image_bytes(seed) for seed in range(101)]
    before = dropped()

    async def test(client: Any) -> None:
        await client.until_serving()
        running = await client.hold_device(fake_device, images[0])
        alive = [asyncio.create_task(client.embed(content)) for content in images[1:26]]
        late = asyncio.create_task(codes(*(client.embed(content, timeout=4.0) for content in images[26:51])))
        gone = [asyncio.create_task(client.embed(content)) for content in images[51:101]]
        await client.until(lambda: queued() >= 100)
        for call in gone:
            call.cancel()
        assert await late == {grpc.StatusCode.DEADLINE_EXCEEDED: 25}
        fake_device.free.set()
        assert await codes(running, *alive) == {grpc.StatusCode.OK: 26}
        await asyncio.sleep(0.2)
        assert len(fake_device.seen) == 1 + 1 + 25, "the canary, the first one, and those whose callers are there"

    serve(test, max_requests_in_flight=200)
    assert dropped() - before == 75


def test_one_caller_cannot_starve_another(
    fake_device: Any, serve: Serve, image_bytes: ImageBytes, tmp_path: Path
) -> None:
    """A bulk job that sends ten times its share would make every other team's labeler unusable."""
    tokens = tmp_path / "tokens"
    tokens.write_text("bulk bulk-token-of-24-letters\ninteractive interactive-token-of-30-letters\n")
    fake_device.free.set()
    fake_device.seconds = 0.02
    content = image_bytes(0)

    async def test(client: Any) -> None:
        await client.until_serving()
        metadata = [("authorization", "Bearer bulk-token-of-24-letters")]
        stop = asyncio.Event()

        async def bulk() -> None:
            while not stop.is_set():
                if grpc.StatusCode.OK not in await codes(client.embed(content, metadata=metadata)):
                    await asyncio.sleep(0.05)  # the least that a refusal asks for

        flood = [asyncio.create_task(bulk()) for _ in range(40)]
        await asyncio.sleep(1.0)
        waits = []
        for _ in range(20):
            before = fake_device.batches
            await client.embed(content, metadata=[("authorization", "Bearer interactive-token-of-30-letters")])
            waits.append(fake_device.batches - before)
        stop.set()
        await asyncio.gather(*flood)
        assert statistics.median(waits) <= 5, f"batches that passed while one image was served: {waits}"

    serve(test, max_requests_in_flight=16, max_batch_size=1, token_file=tokens)


@pytest.mark.parametrize(
    ("timeout", "number"), [(0.001, 50), (0.2, 50), pytest.param(0.001, 1000, marks=pytest.mark.slow)]
)
def test_deadlines_are_kept_while_the_device_is_busy(
    timeout: float, number: int, fake_device: Any, serve: Serve, image_bytes: ImageBytes
) -> None:
    """Callers would hang with the device, and the queue would stay full of their work."""
    fake_device.free.set()

    async def test(client: Any) -> None:
        await client.until_serving()
        running = await client.hold_device(fake_device, image_bytes(0))
        content = image_bytes(1)
        outcomes = await codes(*(client.embed(content, timeout=timeout) for _ in range(number)))
        assert outcomes == {grpc.StatusCode.DEADLINE_EXCEEDED: number}
        fake_device.free.set()
        await running
        await asyncio.sleep(0.5)
        assert queued() == 0

    serve(test, max_requests_in_flight=100)
