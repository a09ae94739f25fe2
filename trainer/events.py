"""What happens in a run, told to programs: events, each a line of JSON. Nobody listens unless asked to (`--json`).

    run        data, output, device, clip, backbone, classes, images_found, skipped
    stage      name, state ("begins", "interrupted", "finished"), seconds
    progress   description, done, total, per_second, seconds_left, failed, waits_for (shares by place), note
    estimate   seconds of each stage to come, from a probe
    label      image_id, probabilities of each class: of a dry run
    failed     image_id, reason
    warning    message
    summary    what summary.json holds, and output, the run's folder
    next       command, to go on with
    error      message, before the run ends with an exit code that is not 0 or 5

Every event has `event`, its name, and `time`, seconds since 1970.
"""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console

Listener = Callable[[dict[str, Any]], None]

_listeners: list[Listener] = []

log = logging.getLogger(__name__)


def emit(event: str, **facts: Any) -> None:
    """Tells an event to whoever listens. `facts` are fit for JSON."""
    for listener in tuple(_listeners):
        listener({"event": event, "time": round(time.time(), 3), **facts})


def warn(console: Console, message: str) -> None:
    """A line for people, and a warning for programs."""
    console.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)
    emit("warning", message=message)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tells this process's events to `listener` while the block runs, the log's warnings and a final error too."""
    handler = _Warnings()
    logging.getLogger().addHandler(handler)
    _listeners.append(listener)
    try:
        yield
    except BaseException as error:
        emit("error", message=str(error) or type(error).__name__)
        raise
    finally:
        _listeners.remove(listener)
        logging.getLogger().removeHandler(handler)


@contextmanager
def json_lines() -> Iterator[None]:
    """Events on standard output, and nothing else there: what others print goes to standard error."""
    stream = sys.stdout
    with contextlib.redirect_stdout(sys.stderr), listening(_Writer(stream)):
        yield


class _Writer:
    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def __call__(self, event: dict[str, Any]) -> None:
        if self._stream is None:
            return
        try:
            print(json.dumps(event), file=self._stream, flush=True)
        except BrokenPipeError:  # who watched is gone; hours of work are not
            self._stream = None
            log.warning("nobody reads the events any more; the run goes on")


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        emit("warning", message=record.getMessage())
