"""How long the client waits between tries and when it stops."""

import pytest

from clip_labeler import InvalidRequestError, OverloadedError, UnavailableError
from clip_labeler.retry import MAX_BACKOFF_SECONDS, Retry, RetryBudget


def test_pauses_grow_to_the_ceiling_and_differ() -> None:
    """Without growth a dead labeler is hammered; without jitter all clients of a restarted one come at once."""
    retry = Retry("host:1", 1000, RetryBudget())
    pauses = [retry.pause(UnavailableError("down")) for _ in range(2000)]
    assert pauses[0] <= 0.2
    assert MAX_BACKOFF_SECONDS / 2 < max(pauses) <= MAX_BACKOFF_SECONDS
    assert len(set(pauses)) > 1900


def test_progress_starts_the_backoff_anew() -> None:
    """A stream that breaks once an hour would wait longer each time."""
    retry = Retry("host:1", 1000, RetryBudget())
    for _ in range(10):
        retry.pause(UnavailableError("down"))
    retry.progress()
    assert retry.pause(UnavailableError("down")) <= 0.2


def test_the_labelers_own_delay_is_waited_at_least() -> None:
    """An overloaded labeler would be asked again before it wants to."""
    assert Retry("host:1", 1000, RetryBudget()).pause(OverloadedError("full", retry_after=3.0)) >= 3.0


def test_what_cannot_pass_is_raised_at_once() -> None:
    """A wrong request would be repeated for half an hour."""
    for error in (InvalidRequestError("bad"), OverloadedError("too large", retry_after=None)):
        with pytest.raises(type(error)) as info:
            Retry("host:1", 1000, RetryBudget()).pause(error)
        assert info.value is error


def test_giving_up_names_the_labeler_and_the_cause() -> None:
    """The user would not learn which address was wrong, nor why."""
    cause = UnavailableError("connection refused")
    with pytest.raises(UnavailableError, match=r"host:1 .*connection refused") as info:
        Retry("host:1", 0, RetryBudget()).pause(cause)
    assert info.value.__cause__ is cause
