"""Progress: what people and programs see of it."""

import io
from typing import Any

import pytest
from rich.console import Console

from trainer import progress
from trainer.events import listening
from trainer.progress import track


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The one number in it is the time, in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_have_rate_time_left_failures_and_what_is_waited_for(clock: list[float]) -> None:
    """Would fail if a log of a remote run could not tell whether it works, or why it is slow."""
    text = io.StringIO()
    with track(Console(file=text, width=200), "labelling images", 100) as advance:
        for _ in range(4):
            clock[0] += 5
            advance(10, failed=1, waits={"device": 0.7, "decoding": 0.3})
        clock[0] += 10
        advance(60, "loss 0.5")
    lines = text.getvalue().splitlines()
    assert len(lines) == 4, "after 10, 20 and 30 s, and at the end"
    for word in ("labelling images", "20/100", "2/s", "40 s left", "2 failed", "waits for device 70%"):
        assert word in lines[0]
    assert "100/100" in lines[-1]
    assert "loss 0.5" in lines[-1]
    assert "left" not in lines[-1]


def test_what_an_earlier_run_did_says_nothing_about_the_rate(clock: list[float]) -> None:
    """Would fail if a run that goes on at 90 % promised to end in a second."""
    events: list[dict[str, Any]] = []
    with listening(events.append), track(Console(quiet=True), "labelling images", 1000) as advance:
        advance(900, earlier=True)
        clock[0] += 10
        advance(10)
        clock[0] += 0.5
        advance(5)
    first, second, end = events
    assert (first["done"], first["seconds_left"]) == (900, None)
    assert (second["done"], second["per_second"], second["seconds_left"]) == (910, 1, 90)
    assert end["done"] == 915


def test_a_bar_shows_the_same(clock: list[float]) -> None:
    """A terminal must be able to show any note: brackets are no markup."""
    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=True)
    with track(console, "labelling images", 10) as advance:
        advance(2, earlier=True)
        advance(8, "[loss] 0.5", failed=2)
    assert "10/10" in text.getvalue()
    assert "[loss] 0.5, 2 failed" in text.getvalue()
