"""What programs are told."""

import io
import json
import logging
import sys

import pytest
from rich.console import Console

from trainer.events import emit, json_lines, listening, warn


def test_standard_output_holds_events_and_nothing_else(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Would fail if a library's print, or a message for people, came between two lines of JSON."""
    with json_lines():
        emit("stage", name="warmup", state="begins")
        print("Downloading weights")
        warn(Console(), "two\nlines")
        logging.getLogger("trainer").warning("view %d was not scored", 3)
    output, error = capsys.readouterr()
    events = [json.loads(line) for line in output.splitlines()]
    assert [event["event"] for event in events] == ["stage", "warning", "warning"]
    assert events[0]["name"] == "warmup"
    assert [event["message"] for event in events[1:]] == ["two\nlines", "view 3 was not scored"]
    assert all(event["time"] > 1.7e9 for event in events)
    assert "Downloading weights" in error


def test_the_reason_of_the_end_is_an_event() -> None:
    events: list[dict[str, object]] = []
    with pytest.raises(ValueError, match="no such"), listening(events.append):
        raise ValueError("no such class")
    assert [(event["event"], event["message"]) for event in events] == [("error", "no such class")]
    emit("stage", name="nobody listens")
    assert len(events) == 1


def test_a_run_goes_on_when_nobody_reads_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if hours of work ended with the program that watched them."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with json_lines():
        emit("stage", name="warmup")
        emit("stage", name="training")
