"""What is waited for: the slowest part must be the one that is named."""

import time
from collections.abc import Iterator

import pytest

from clip_labeler import Timings
from trainer.waits import LabelerWaits, Timed


def slowest(waits: LabelerWaits) -> str:
    shares = waits.shares()
    assert sum(shares.values()) == pytest.approx(1)
    return max(shares, key=shares.__getitem__)


@pytest.mark.parametrize(
    ("decode", "queue", "device", "server", "expected"),
    [
        (0.01, 0.5, 0.1, 0.08, "device"),  # eight images that queue for the device
        (0.4, 0.0, 0.01, 0.09, "decoding"),  # eight that wait for a free decoder, of which nobody tells
        (0.001, 0.0, 0.001, 0.001, "network"),  # eight that the labeler hardly notices
        (0.0, 0.0, 0.0, 0.0, "network"),  # eight that its cache answers
    ],
)
def test_place_by_the_labelers_timings(
    decode: float, queue: float, device: float, server: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would fail if a user bought a graphics card where processors are missing."""
    waits, now = LabelerWaits(), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    assert waits.shares() == {}
    for image in range(8):
        waits.read(image, began=now[0])
    now[0] += 0.1
    waits.on_timings(Timings(8, decode, queue, device, server, None))
    for image in range(8):
        waits.answered(image)
    assert slowest(waits) == expected


def test_a_slow_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    waits, now = LabelerWaits(), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    for image in range(8):
        began = now[0]
        now[0] += 1.0
        waits.read(image, began)
        now[0] += 0.1
        waits.on_timings(Timings(1, 0.01, 0.01, 0.05, 0.08, None))
        waits.answered(image)
    assert slowest(waits) == "disk"


def test_waiting_for_batches_is_told_from_work_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def batches() -> Iterator[int]:
        for number in range(3):
            now[0] += 3.0
            yield number

    timed = Timed(batches())
    seen = []
    for number in timed:
        now[0] += 1.0
        seen.append(number)
    assert seen == [0, 1, 2]
    assert timed.shares() == {"decoding": 0.75, "device": 0.25}
