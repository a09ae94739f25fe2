"""The batcher: grouping, order, abandoned work, faults of the device, and bits that do not depend on neighbours."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from labeler_service.backends import IMAGENET_NORMALIZATION, Computed, Normalization, OutOfDeviceMemoryError
from labeler_service.batching import Batcher, BatchLimits, Encoded
from labeler_service.call_context import CallContext, current_call
from labeler_service.errors import DeviceLostError, ItemError, RequestError

POISON, NAN = 13, 14


class Device:
    """Embeds an image as its first pixel; can be held, and fails as real devices do, on demand."""

    def __init__(self, *, max_batch: int = 1000, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[tuple[int, int, list[int]]] = []
        self.max_batch = max_batch
        self.lost = False
        self.free = threading.Event()
        self.free.set()
        self.info: Any = None

    def submit(self, pixels_BHW3: np.ndarray, normalization: Normalization) -> Computed:
        return Computed(self.encode_images(pixels_BHW3, normalization))

    def encode_images(self, pixels_BHW3: np.ndarray, normalization: Normalization) -> np.ndarray:
        self.free.wait(10)
        time.sleep(self.seconds)
        values = pixels_BHW3[:, 0, 0, 0]
        self.batches.append((*pixels_BHW3.shape[1:3], values.tolist()))
        if self.lost:
            raise DeviceLostError
        if len(values) > self.max_batch:
            raise OutOfDeviceMemoryError
        if POISON in values:
            raise RuntimeError("poison")
        return np.where(values == NAN, np.nan, values)[:, None].astype(np.float32)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        raise AssertionError


def image(value: int, height: int = 2, width: int = 2) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def run(device: Device, test: Any, **limits: Any) -> Any:
    async def main() -> Any:
        batcher = Batcher(device, BatchLimits(**{"max_pixels": 10**6, "max_size": 100, "padded": False, **limits}))
        try:
            return await asyncio.wait_for(test(batcher), 20)
        finally:
            device.free.set()
            await batcher.close()

    return asyncio.run(main())


def encode(batcher: Batcher, *images: np.ndarray) -> list[Coroutine[Any, Any, Encoded]]:
    return [batcher.encode(pixels, IMAGENET_NORMALIZATION) for pixels in images]


async def start(batcher: Batcher, *images: np.ndarray) -> list[asyncio.Task[Encoded]]:
    tasks = [asyncio.create_task(coroutine) for coroutine in encode(batcher, *images)]
    await asyncio.sleep(0.05)
    return tasks


def test_free_device_takes_what_is_there_and_a_busy_one_collects() -> None:
    """An artificial delay would cost latency when idle; batches of one would cost throughput when busy."""
    device = Device()
    device.free.clear()

    async def test(batcher: Batcher) -> None:
        tasks = await start(batcher, image(1))
        tasks += await start(batcher, *(image(value) for value in (2, 3, 4)))
        device.free.set()
        encoded = await asyncio.gather(*tasks)
        assert [e.outcome.tolist() for e in encoded] == [[1], [2], [3], [4]]

    run(device, test)
    assert device.batches == [(2, 2, [1]), (2, 2, [2, 3, 4])]


def test_shapes_do_not_mix_and_the_oldest_view_goes_first() -> None:
    """A shape that comes rarely would starve behind one that always fills its batches."""
    device = Device()
    device.free.clear()

    async def test(batcher: Batcher) -> None:
        tasks = await start(batcher, image(0))
        tasks += await start(batcher, image(1), image(2, height=4), image(3), image(4), image(5, height=4))
        device.free.set()
        await asyncio.gather(*tasks)

    run(device, test, max_size=2)
    assert device.batches == [(2, 2, [0]), (2, 2, [1, 3]), (4, 2, [2, 5]), (2, 2, [4])]


def test_pixels_bound_a_batch() -> None:
    device = Device()
    run(device, lambda batcher: asyncio.gather(*encode(batcher, *(image(i, 10, 10) for i in range(5)))), max_pixels=250)
    assert max(len(values) for _, _, values in device.batches) == 2


def test_abandoned_work_never_reaches_the_device() -> None:
    """Work for callers that are gone would make an overload permanent."""
    device = Device()
    device.free.clear()

    async def test(batcher: Batcher) -> None:
        tasks = await start(batcher, *(image(value) for value in range(10)))
        for task in tasks[1::2]:
            task.cancel()
        device.free.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(device, test, max_size=3)
    assert sorted(value for _, _, values in device.batches[1:] for value in values) == [4, 6, 8]


@pytest.mark.parametrize("padded", [False, True])
def test_poison_fails_alone(padded: bool) -> None:
    """One item that the model chokes on must not fail those that it shares a batch with."""

    async def test(batcher: Batcher) -> list[Encoded]:
        return await asyncio.gather(*encode(batcher, *(image(value) for value in (1, 2, POISON, 3, NAN, 4))))

    outcomes = [encoded.outcome for encoded in run(Device(), test, padded=padded)]
    assert [o.reason if isinstance(o, ItemError) else o.tolist() for o in outcomes] == [
        [1], [2], "ENCODING_FAILED", [3], "NON_FINITE", [4]
    ]  # fmt: skip


@pytest.mark.parametrize("padded", [False, True])
def test_batch_that_does_not_fit_is_split_and_the_size_remembered(padded: bool) -> None:
    """Padded to the size that did not fit, the halves would fail too; forgotten, every batch would fail first."""
    device = Device(max_batch=2)

    async def test(batcher: Batcher) -> list[Encoded]:
        return [
            *await asyncio.gather(*encode(batcher, *(image(value) for value in range(1, 8)))),
            *await asyncio.gather(*encode(batcher, *(image(value) for value in range(21, 28)))),
        ]

    encoded = run(device, test, padded=padded)
    assert [e.outcome.tolist() for e in encoded] == [[value] for value in (*range(1, 8), *range(21, 28))]
    later = [values for _, _, values in device.batches if 21 in values or 27 in values]
    assert all(len(values) <= 2 for values in later)


def test_image_that_never_fits_says_so() -> None:
    [encoded] = run(Device(max_batch=0), lambda batcher: asyncio.gather(*encode(batcher, image(1))))
    assert encoded.outcome.reason == "OUT_OF_DEVICE_MEMORY"


def test_lost_device_fails_everyone_at_once() -> None:
    """Callers would wait for ever on a worker that is dead."""
    device = Device()
    device.free.clear()

    async def test(batcher: Batcher) -> None:
        tasks = await start(batcher, image(1), image(2), image(3, height=4))
        device.lost = True
        device.free.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [DeviceLostError] * 3
        assert batcher.lost.is_set()
        with pytest.raises(DeviceLostError):
            await batcher.encode(image(4), IMAGENET_NORMALIZATION)

    run(device, test)


def test_padded_batches_of_a_shape_have_one_size() -> None:
    device = Device()
    run(
        device, lambda b: asyncio.gather(*encode(b, *(image(v, 10, 10) for v in range(7)))), padded=True, max_pixels=450
    )
    assert {len(values) for _, _, values in device.batches} == {4}


def test_work_that_cannot_be_done_in_time_is_dropped() -> None:
    """The device would work for callers that are gone when it is done, and make those behind them late too."""
    device = Device(seconds=0.2)

    async def test(batcher: Batcher) -> None:
        for _ in range(2):  # the first of a shape says little
            await batcher.encode(image(1), IMAGENET_NORMALIZATION)
        current_call.set(CallContext(deadline=time.monotonic() + 0.1))
        with pytest.raises(RequestError) as caught:
            await batcher.encode(image(2), IMAGENET_NORMALIZATION)
        assert caught.value.reason == "DEADLINE_TOO_NEAR"
        current_call.set(CallContext(deadline=time.monotonic() + 10))
        await batcher.encode(image(3), IMAGENET_NORMALIZATION)

    run(device, test)
    assert [values for _, _, values in device.batches] == [[1], [1], [3]]


class Overlapping(Device):
    """A device that computes after `submit` has returned; `events` tells in which order it was asked for what."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def submit(self, pixels_BHW3: np.ndarray, normalization: Normalization) -> Any:
        first = int(pixels_BHW3[0, 0, 0, 0])
        self.events.append(f"submit {first}")
        device = self

        class Pending:
            def result(self) -> np.ndarray:
                device.events.append(f"result {first}")
                return device.encode_images(pixels_BHW3, normalization)

        return Pending()


def test_the_next_batch_is_given_before_the_last_one_is_asked_for() -> None:
    """The device would stand idle while the next batch is copied to it."""
    device = Overlapping()

    async def test(batcher: Batcher) -> None:
        encoded = await asyncio.gather(*encode(batcher, *(image(value) for value in (1, 2, 3))))
        assert [e.outcome.tolist() for e in encoded] == [[1], [2], [3]]

    run(device, test, max_size=1)
    assert device.events == ["submit 1", "submit 2", "result 1", "submit 3", "result 2", "result 3"]


def test_a_lone_batch_is_asked_for_at_once() -> None:
    """It would wait for a next one that never comes."""
    device = Overlapping()
    run(device, lambda batcher: asyncio.gather(*encode(batcher, image(1))))
    assert device.events == ["submit 1", "result 1"]


def test_poison_fails_alone_on_an_overlapping_device() -> None:
    async def test(batcher: Batcher) -> list[Encoded]:
        return await asyncio.gather(*encode(batcher, *(image(value) for value in (1, POISON, 3, 4))))

    outcomes = [encoded.outcome for encoded in run(Overlapping(), test, max_size=2)]
    assert [o.reason if isinstance(o, ItemError) else o.tolist() for o in outcomes] == [
        [1], "ENCODING_FAILED", [3], [4]
    ]  # fmt: skip


def test_even_batches_hold_powers_of_two() -> None:
    """oneDNN keeps kernels for each batch size: memory would grow for as long as there are new ones."""
    device = Device()
    device.free.clear()

    async def test(batcher: Batcher) -> None:
        tasks = await start(batcher, image(0))
        tasks += await start(batcher, *(image(value) for value in range(1, 14)))
        device.free.set()
        await asyncio.gather(*tasks)

    run(device, test, max_size=10, even=True)
    assert [len(values) for _, _, values in device.batches] == [1, 8, 4, 1]
