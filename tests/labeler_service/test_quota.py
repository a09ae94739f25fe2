"""Quotas: what a caller is given in a stretch of time, and when it is told to come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeler_service.errors import RequestError
from labeler_service.quota import UNLIMITED, Quota

Steps = list[tuple[float, int]]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    per_minute=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 64)), min_size=1),
)
def test_never_more_than_a_minute_in_advance(per_minute: int, steps: Steps) -> None:
    """A caller that asks often enough would get more than its share."""
    clock = Clock()
    quota = Quota(per_minute, clock)
    given_out = 0
    for pause, images in steps:
        clock.now += pause
        if quota.take(images) == 0:
            # Something was left of the first minute's worth and of what has come since; the request may overdraw it.
            assert given_out < per_minute * (1 + clock.now / 60) + 1e-6
            given_out += images


@given(per_minute=st.integers(1, 100_000), images=st.integers(1, 1000))
def test_waiting_as_told_is_enough(per_minute: int, images: int) -> None:
    """Callers that obey RetryInfo would be refused again."""
    clock = Clock()
    quota = Quota(per_minute, clock)
    while (seconds := quota.take(images)) == 0:
        pass
    clock.now += seconds
    assert quota.take(images) == 0


def test_request_larger_than_the_quota_is_served() -> None:
    """It would be refused for ever."""
    assert Quota(1, Clock()).take(64) == 0


def test_refusal_says_when_to_come_back() -> None:
    quota = Quota(60, Clock())
    quota.charge(60)
    with pytest.raises(RequestError, match="60 images per minute") as caught:
        quota.charge(1)
    assert caught.value.reason == "TENANT_QUOTA"
    assert caught.value.retry_after_seconds == 0.5


def test_unlimited() -> None:
    assert UNLIMITED.take(10**9) == UNLIMITED.take(10**9) == 0
