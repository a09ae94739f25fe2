"""When a batch is overdue: soon where batches are fast, late where they are slow or new."""

import pytest

from labeler_service import progress
from labeler_service.backends import IMAGENET_NORMALIZATION
from labeler_service.progress import Progress
from labeler_service.queueing import Shape

SMALL, LARGE = Shape(100, 100, IMAGENET_NORMALIZATION), Shape(200, 100, IMAGENET_NORMALIZATION)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def run(watch: Progress, clock: Clock, shape: Shape, num_views: int, seconds: float) -> float:
    batch = watch.start(shape, num_views)
    clock.now += seconds
    return watch.end(batch, completed=True)


def test_a_fast_device_is_overdue_within_two_seconds(clock: Clock) -> None:
    """Callers would be sent to a hung device for as long as a slow one may take."""
    watch = Progress()
    run(watch, clock, SMALL, 32, 0.1)
    watch.start(SMALL, 32)
    clock.now += 1.3
    assert watch.overdue == 0
    clock.now += 0.3
    assert watch.overdue > 0


def test_a_slow_device_is_not_called_hung(clock: Clock) -> None:
    """On a CPU the first full batch of a large model takes minutes; the process would end in the middle of it."""
    watch = Progress()
    run(watch, clock, SMALL, 1, 2.0)  # the canary
    watch.start(LARGE, 32)
    clock.now += 32 * 2 * 2.0
    assert watch.overdue == 0


def test_a_larger_batch_of_a_known_shape_may_take_longer(clock: Clock) -> None:
    watch = Progress()
    run(watch, clock, SMALL, 1, 2.0)
    watch.start(SMALL, 30)
    clock.now += 30 * 2.0
    assert watch.overdue == 0


def test_of_two_batches_in_flight_the_second_waits_for_the_first(clock: Clock) -> None:
    """Counted from its own start, each batch would seem to take twice as long as it does."""
    watch = Progress()
    first = watch.start(SMALL, 1)
    clock.now += 0.1
    second = watch.start(SMALL, 1)
    clock.now += 0.9
    assert watch.end(first, completed=True) == pytest.approx(1.0)
    clock.now += 1.0
    assert watch.end(second, completed=True) == pytest.approx(1.0)
    assert not watch.busy


def test_a_batch_takes_as_long_as_one_of_its_size_took(clock: Clock) -> None:
    """By what one view takes, views would be taken on that are late when their batch of 32 is done."""
    watch = Progress()
    for num_views, seconds in ((1, 9.0), (1, 0.1), (8, 0.6), (8, 0.7)):
        run(watch, clock, SMALL, num_views, seconds)
    assert watch.least_seconds(SMALL, 1) == pytest.approx(0.1), "the first batch counts for nothing"
    assert watch.least_seconds(SMALL, 7) == pytest.approx(0.1)
    assert watch.least_seconds(SMALL, 32) == pytest.approx(0.6, rel=0.1)
    assert watch.least_seconds(LARGE, 32) == 0


def test_a_slow_moment_does_not_shut_out_the_urgent_for_good(clock: Clock) -> None:
    """All would be dropped, and no batch would run that shows how fast the device is."""
    watch = Progress()
    run(watch, clock, SMALL, 8, 1.0)
    run(watch, clock, SMALL, 8, 30.0)
    drops = 0
    while watch.least_seconds(SMALL, 8) > 1.0:
        watch.doubt(SMALL)
        drops += 1
    assert drops < 50
    run(watch, clock, SMALL, 8, 0.1)
    assert watch.least_seconds(SMALL, 8) == pytest.approx(0.1)


def test_drops_are_forgotten_with_the_next_batch(clock: Clock) -> None:
    """In an overload views are dropped all the time: were each to count for good, those that are late anyway would be
    taken on again."""
    watch = Progress()
    for _ in range(3):
        run(watch, clock, SMALL, 8, 1.0)
    for _ in range(20):
        watch.doubt(SMALL)
    run(watch, clock, SMALL, 8, 1.0)
    assert watch.least_seconds(SMALL, 8) == pytest.approx(1.0)
