"""How long callers wait: one image on an idle server, and under requests that arrive whatever the server does.

python -m benchmarks.labeler_latency --model RN50 --random-weights --view-size 224 --seconds 30

Idle: one request at a time, in turn with decoding and encoding the same image in this process. Then the capacity is
measured with requests that wait for each other, and requests of one image arrive by a Poisson process at half, one and
two times that rate, each with a deadline; nothing is retried.
"""

import asyncio
import gc
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import cyclopts
import grpc
import numpy as np

from benchmarks import material, reference
from benchmarks.labeler_memory import drift
from benchmarks.report import report
from benchmarks.target import ServerProcess, Target, ready_target, running
from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub
from labeler_service.backends import Backend

LOADS = (0.5, 1.0, 2.0)
# A slow device has full batches with few, a fast one needs more; the server lets in 64.
CAPACITY_REQUESTS = (8, 32)
# What the server tells a caller to wait at the least that it refused; it may let in fewer of a slow model's.
REFUSED_SECONDS = 0.05
# A connection has 128 requests in flight at most (the server's limit), and overload needs more.
CONNECTIONS = 16
MEMORY_SECONDS = 1.0  # between looks at the server
EXPECTED = ("OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
SEED = 0


@dataclass
class Outcomes:
    """Seconds of each request, by how it ended."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, code: str, seconds: float) -> None:
        self.seconds.setdefault(code, []).append(seconds)

    def number(self, code: str) -> int:
        return len(self.seconds.get(code, []))

    def milliseconds(self, code: str, percentile: float) -> float | None:
        """None if none ended so."""
        values = self.seconds.get(code)
        return 1000 * float(np.percentile(values, percentile)) if values else None


def main(
    target: Annotated[Target, cyclopts.Parameter(name="*")] = Target(),  # noqa: B008
    *,
    seconds: float = 10.0,
    deadline: float = 2.0,
) -> None:
    """Prints two tables and lines of JSON.

    Parameters
    ----------
    seconds
        Time per measurement; there are five.
    deadline
        Of each request under load, in seconds.
    """
    with ready_target(target) as ready, running(ready) as server:
        photos = [material.photo(seed) for seed in range(64)]
        asyncio.run(_measure(target, ready.load_encoder(), server, photos, seconds, deadline))


async def _measure(
    target: Target, backend: Backend, server: ServerProcess, photos: Sequence[bytes], seconds: float, deadline: float
) -> None:
    async with AsyncExitStack() as stack:
        own_connection = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(server.address, own_connection) for _ in range(CONNECTIONS)]
        stubs = [LabelerServiceStub(await stack.enter_async_context(channel)) for channel in channels]
        vocabulary = await stubs[0].CreateVocabulary(pb.CreateVocabularyRequest(class_names=["person", "car", "tree"]))
        options = pb.ScoreOptions(
            vocabulary_id=vocabulary.vocabulary_id,
            preprocessing=pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER, view_size=target.view_size),
            output=pb.ScoreOptions.OUTPUT_PROBABILITIES,
        )
        requests = [pb.ScoreImagesRequest(options=options, images=[pb.Image(content=photo)]) for photo in photos]

        async def score(outcomes: Outcomes) -> str:
            start = time.perf_counter()
            try:
                await random.choice(stubs).ScoreImages(random.choice(requests), timeout=deadline)
                code = "OK"
            except grpc.aio.AioRpcError as error:
                code = error.code().name
            outcomes.add(code, time.perf_counter() - start)
            return code

        def in_process() -> None:
            shape = (target.view_size, target.view_size)
            reference.encode_one(backend, random.choice(photos), shape)

        random.seed(SEED)
        gc.freeze()  # a pause of the caller's own garbage collection is not the server's
        await _idle(target, score, in_process, seconds)
        await _loaded(target, server, score, seconds)


async def _idle(target: Target, score: Any, in_process: Callable[[], None], seconds: float) -> None:
    outcomes = Outcomes()
    await score(Outcomes())
    in_process()  # warm
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        await score(outcomes)
        start = time.perf_counter()
        in_process()
        outcomes.add("in process", time.perf_counter() - start)
    rows = {
        name: [1000 * float(np.percentile(outcomes.seconds[code], percentile)) for percentile in (50, 99)]
        for name, code in (("served", "OK"), ("in process", "in process"))
    }
    rows["difference"] = [served - alone for served, alone in zip(*rows.values(), strict=True)]
    report("labeler_latency, idle", target, ["p50 ms", "p99 ms"], rows, {"milliseconds, p50 and p99": rows})


async def _loaded(target: Target, server: ServerProcess, score: Any, seconds: float) -> None:
    capacity = max([await _capacity(score, number, seconds / 2) for number in CAPACITY_REQUESTS])
    figures: dict[str, dict[str, float | None]] = {}
    for load in LOADS:
        outcomes = Outcomes()
        memory: list[int] = []
        watching = asyncio.create_task(_watch_memory(server, memory))
        running = await _arrivals(partial(score, outcomes), load * capacity, seconds)
        goodput = outcomes.number("OK") / seconds  # What is answered after the time does not count.
        watching.cancel()
        await asyncio.gather(*running)
        figures[f"{load:g} x capacity"] = {
            "sent/s": sum(map(len, outcomes.seconds.values())) / seconds,
            "answered/s": goodput,
            "of capacity": goodput / capacity,
            "p50 ms": outcomes.milliseconds("OK", 50),
            "p99 ms": outcomes.milliseconds("OK", 99),
            "refused/s": outcomes.number("RESOURCE_EXHAUSTED") / seconds,
            "refused after p99 ms": outcomes.milliseconds("RESOURCE_EXHAUSTED", 99),
            "late/s": outcomes.number("DEADLINE_EXCEEDED") / seconds,
            "other/s": sum(len(s) for code, s in outcomes.seconds.items() if code not in EXPECTED) / seconds,
            "memory drift %": 100 * drift(memory),
        }
    rows = {what: [load[what] for load in figures.values()] for what in next(iter(figures.values()))}
    report("labeler_latency, under load", target, list(figures), rows, {"capacity": capacity, "loads": figures})


async def _watch_memory(server: ServerProcess, samples: list[int]) -> None:
    """Bytes, at even times."""
    while True:
        samples.append(await asyncio.to_thread(server.memory))
        await asyncio.sleep(MEMORY_SECONDS)


async def _capacity(score: Any, num_requests: int, seconds: float) -> float:
    """Images per second when each of a number of requests is followed by the next."""
    outcomes = Outcomes()

    async def one_after_another() -> None:
        while True:
            if await score(outcomes) != "OK":
                await asyncio.sleep(REFUSED_SECONDS)

    running = [asyncio.create_task(one_after_another()) for _ in range(num_requests)]
    await asyncio.sleep(seconds)
    answered = outcomes.number("OK")
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return answered / seconds


async def _arrivals(request: Callable[[], Coroutine[Any, Any, Any]], rate: float, seconds: float) -> set[Any]:
    """Starts requests at random times, `rate` a second on average; those that were started, as tasks."""
    started = set()
    due = start = time.perf_counter()
    while (due := due + random.expovariate(rate)) < start + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        started.add(asyncio.create_task(request()))
    return started


if __name__ == "__main__":
    cyclopts.run(main)
