"""The fair queue: nothing lost, shapes apart, callers share by pixels, the urgent first, the dropped never."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeler_service.backends import IMAGENET_NORMALIZATION
from labeler_service.queueing import FairQueue, Job, Shape

SMALL, LARGE = Shape(32, 32, IMAGENET_NORMALIZATION), Shape(64, 32, IMAGENET_NORMALIZATION)


class Future:
    def done(self) -> bool:
        return False


def job(caller: str = "a", shape: Shape = SMALL, deadline: float | None = None, queued_at: float = 0.0) -> Job:
    future: Any = Future()
    return Job(np.zeros((1, 1, 3), np.uint8), shape, future, caller, deadline, queued_at)


def filled(*jobs: Job) -> FairQueue:
    queue = FairQueue(lambda job: False)
    for each in jobs:
        queue.push(each)
    return queue


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([SMALL, LARGE]), st.none() | st.floats(0, 20), st.booleans()),
        max_size=40,
    ),
    st.integers(1, 5),
)
def test_every_job_once_in_batches_of_one_shape(
    jobs: list[tuple[str, Shape, float | None, bool]], capacity: int
) -> None:
    made = [job(caller, shape, deadline) for caller, shape, deadline, _ in jobs]
    dropped = {id(each) for each, (*_, drop) in zip(made, jobs, strict=True) if drop}
    queue = FairQueue(lambda each: id(each) in dropped)
    taken: list[Job] = []
    for number, each in enumerate(made):
        queue.push(each)
        if number % 7 == 6:
            taken += queue.take(lambda shape: capacity)
    while batch := queue.take(lambda shape: capacity):
        assert len({each.shape for each in batch}) == 1
        assert len(batch) <= capacity
        taken += batch
    assert queue.num_views == queue.num_pixels == 0
    assert Counter(map(id, taken)) == Counter(id(each) for each in made if id(each) not in dropped)


def test_the_urgent_comes_first_and_the_patient_in_the_end() -> None:
    """First come, first served would let a deadline pass that could be kept; deadlines alone would starve the rest."""
    patient, late = job(queued_at=0.0), job(queued_at=2.0)
    urgent = job(deadline=4.0, queued_at=3.0)
    queue = filled(patient, late, urgent)
    assert queue.take(lambda shape: 1) == [urgent]
    queue.push(job(deadline=10.5, queued_at=9.0))
    assert queue.take(lambda shape: 1) == [patient]


def test_callers_share_the_device_by_pixels() -> None:
    """A caller with ten times the work would get ten times the device; one with large views, twice."""
    queue = filled(
        *(job("bulk") for _ in range(100)),
        *(job("large", LARGE) for _ in range(50)),
        *(job("slow") for _ in range(10)),
    )
    given_pixels: Counter[str] = Counter()
    for _ in range(40):
        for each in queue.take(lambda shape: 1):
            given_pixels[each.caller] += each.shape.pixels
    assert given_pixels["slow"] == 10 * SMALL.pixels, "all that it wanted"
    assert given_pixels["bulk"] == pytest.approx(given_pixels["large"], abs=LARGE.pixels)


def test_a_pause_earns_no_credit() -> None:
    """A caller that comes back after an hour would have the device for itself for an hour."""
    queue = filled(*(job("steady") for _ in range(50)))
    for _ in range(20):
        queue.take(lambda shape: 1)
    for _ in range(20):
        queue.push(job("returning"))
    first = Counter(each.caller for _ in range(10) for each in queue.take(lambda shape: 1))
    assert first == {"steady": 5, "returning": 5}


def test_a_batch_is_filled_with_other_callers_views() -> None:
    """Half-empty batches would waste the device for the sake of fairness."""
    queue = filled(job("a"), job("b"), job("b"), job("c", LARGE))
    assert Counter(each.caller for each in queue.take(lambda shape: 8)) == {"a": 1, "b": 2}


def test_drain_empties() -> None:
    queue = filled(job("a"), job("b", LARGE), job("b"))
    assert len(list(queue.drain())) == 3
    assert queue.take(lambda shape: 8) == []
