"""How long the client waits between tries, when it stops, and how little it asks of an overloaded labeler."""

import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_labeler import DeadlineError, InvalidRequestError, LabelerError, OverloadedError, UnavailableError
from clip_labeler.retry import BUDGET_RETRIES, MAX_BACKOFF_SECONDS, RETRIES_PER_SUCCESS, Retry, RetryBudget

DOWN = UnavailableError("down")
FULL = OverloadedError("full", retry_after=0.1)
LATE = DeadlineError("late")


class FakeClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def new_retry(max_wait: float = 1000.0) -> Retry:
    return Retry("host:1", max_wait, RetryBudget())


def test_pauses_grow_to_the_ceiling_and_differ() -> None:
    """Without growth a dead labeler is hammered; without jitter all clients of a restarted one come at once."""
    retry = new_retry()
    pauses = [retry.pause(DOWN) for _ in range(2000)]
    assert pauses[0] <= 0.2
    assert MAX_BACKOFF_SECONDS / 2 < max(pauses) <= MAX_BACKOFF_SECONDS
    assert len(set(pauses)) > 1900


def test_progress_starts_the_backoff_anew() -> None:
    """A stream that breaks once an hour would wait longer each time."""
    retry = new_retry()
    for _ in range(10):
        retry.pause(DOWN)
    retry.progress()
    assert retry.pause(DOWN) <= 0.2


def test_the_labelers_own_delay_is_waited_at_least() -> None:
    """An overloaded labeler would be asked again before it wants to."""
    assert new_retry().pause(OverloadedError("full", retry_after=3.0)) >= 3.0


def test_what_cannot_pass_is_raised_at_once() -> None:
    """A wrong request would be repeated for half an hour."""
    for error in (InvalidRequestError("bad"), OverloadedError("too large", retry_after=None)):
        with pytest.raises(type(error)) as info:
            new_retry().pause(error)
        assert info.value is error


def test_giving_up_names_the_labeler_and_the_cause() -> None:
    """The user would not learn which address was wrong, nor why."""
    cause = UnavailableError("connection refused")
    with pytest.raises(UnavailableError, match=r"host:1 .*connection refused") as info:
        new_retry(max_wait=0).pause(cause)
    assert info.value.__cause__ is cause


@settings(deadline=None)
@given(errors=st.lists(st.sampled_from([DOWN, FULL, LATE]), min_size=500, max_size=500), max_wait=st.floats(0, 100))
def test_a_call_fails_after_max_wait_and_not_before(errors: list[LabelerError], max_wait: float) -> None:
    """A client would sleep past the time that it was given, or an overload end a call that had time left."""
    clock = FakeClock()
    retry = Retry("host:1", max_wait, RetryBudget(clock), clock)

    def fail_again_and_again() -> None:
        for error in errors:
            clock.now += retry.pause(error) + 1e-3  # the try itself takes a moment

    with pytest.raises(UnavailableError, match="gave up"):
        fail_again_and_again()
    assert max_wait <= clock.now <= max_wait + len(errors) * 1e-3 + 1e-6


@settings(deadline=None)
@given(
    num_calls=st.integers(1, 200),
    refused=st.floats(0.5, 1.0),
    error=st.sampled_from([FULL, LATE]),
    seed=st.integers(0, 2**32),
)
def test_an_overloaded_labeler_is_asked_again_for_a_share_of_its_answers(
    num_calls: int, refused: float, error: LabelerError, seed: int
) -> None:
    """Many calls at once would keep a labeler overloaded with their repetitions alone."""
    clock, chance = FakeClock(), random.Random(seed)
    budget = RetryBudget(clock)
    # (time of the next try, call, its state); a call that is answered is followed by the next
    tries = [(0.0, call, Retry("host:1", 1e9, budget, clock)) for call in range(num_calls)]
    num_retries = num_successes = 0
    for _ in range(2000):
        clock.now, call, retry = heapq.heappop(tries)
        num_retries += retry.num_failures > 0
        if chance.random() < refused:
            heapq.heappush(tries, (clock.now + retry.pause(error), call, retry))
        else:
            num_successes += 1
            retry.progress()
            heapq.heappush(tries, (clock.now + 0.01, call, Retry("host:1", 1e9, budget, clock)))
    allowed = BUDGET_RETRIES + RETRIES_PER_SUCCESS * num_successes + clock.now / MAX_BACKOFF_SECONDS
    assert num_retries <= allowed + 1


def test_an_outage_costs_no_budget() -> None:
    """A labeler that was away for an hour would be asked once in five seconds by all of a client's calls together."""
    budget = RetryBudget(FakeClock())
    for _ in range(1000):
        Retry("host:1", 1000, budget).pause(DOWN)
    assert budget.spend() == 0.0
