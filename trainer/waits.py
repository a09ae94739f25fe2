"""What work waits for, so that progress can say why it is not faster: disk, network, decoding or the device."""

import time
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

from clip_labeler import Timings

Item = TypeVar("Item")


class LabelerWaits:
    """Where the images of one score call spend their time, from their reading here to their answer, as shares.

    Where most of them are at any time is what all wait for: they queue before the slowest part. `on_timings` is the
    client's; images are known by a key.
    """

    def __init__(self) -> None:
        self._sent: dict[Hashable, float] = {}
        self._seconds = {"disk": 0.0, "network": 0.0, "decoding": 0.0, "device": 0.0}

    def on_timings(self, timings: Timings) -> None:
        """Adds what the labeler says of a response. What it cannot place (waiting for a free decoder, for the other
        images of a request) is the fault of decoding or of the device in the measure in which they take long."""
        server = timings.server * timings.num_items
        decoding, device = timings.decode, timings.queue + timings.device
        share = decoding / (decoding + device) if decoding + device > 0 else 0.0
        self._seconds["decoding"] += share * server
        self._seconds["device"] += (1 - share) * server
        self._seconds["network"] -= server

    def read(self, key: Hashable, began: float) -> None:
        """An image was read from disk, from `began` (time.perf_counter) until now, and goes to the labeler."""
        self._sent[key] = now = time.perf_counter()
        self._seconds["disk"] += now - began

    def answered(self, key: Hashable) -> None:
        self._seconds["network"] += time.perf_counter() - self._sent.pop(key)

    def shares(self) -> dict[str, float]:
        """Share of the images' time by place, in [0, 1], that sum to 1; empty before the first answer."""
        seconds = {place: max(value, 0.0) for place, value in self._seconds.items()}
        total = sum(seconds.values())
        return {place: value / total for place, value in seconds.items()} if total > 0 else {}


class Timed(Generic[Item]):
    """Items, with the time that is spent on waiting for the next one: of a loader's batches, for decoding; the rest of
    the time is the device's."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self._waited = 0.0
        self._start = time.perf_counter()

    def __iter__(self) -> Iterator[Item]:
        iterator = iter(self._items)
        while True:
            began = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self._waited += time.perf_counter() - began
            yield item

    def shares(self) -> dict[str, float]:
        """Share of the time since the beginning by what was waited for, in [0, 1], that sum to 1."""
        waited = self._waited / max(time.perf_counter() - self._start, 1e-9)
        return {"decoding": waited, "device": 1 - waited}
