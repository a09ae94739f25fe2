"""Progress with rate, time left, failures and what is waited for: a bar on a terminal, a line every few seconds
elsewhere, events for programs."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from trainer.events import emit

# Seconds between lines where nobody watches a bar: a log of an hour stays readable.
LINE_INTERVAL = 10.0
# Seconds between events: programs draw from them.
EVENT_INTERVAL = 1.0


class Advance(Protocol):
    """Reports that `count` more items are finished.

    note: a word on the state, such as the loss. failed: how many of the items could not be used. waits: share of the
    time by what is waited for. earlier: they were finished by a run before this one, and say nothing about the rate.
    """

    def __call__(
        self,
        count: int,
        note: str = "",
        *,
        failed: int = 0,
        waits: Mapping[str, float] | None = None,
        earlier: bool = False,
    ) -> None: ...


@dataclass
class _State:
    description: str
    total: int
    done: int = 0
    earlier: int = 0
    failed: int = 0
    note: str = ""
    waits: Mapping[str, float] = field(default_factory=dict)
    start: float = field(default_factory=lambda: time.monotonic())  # looked up late: tests have a clock of their own

    @property
    def per_second(self) -> float:
        return (self.done - self.earlier) / max(time.monotonic() - self.start, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        return (self.total - self.done) / self.per_second if self.done > self.earlier else None

    @property
    def remarks(self) -> str:
        """Note, failures, and what is waited for most."""
        parts = [self.note, f"{self.failed} failed" if self.failed else ""]
        if self.waits:
            place = max(self.waits, key=self.waits.__getitem__)
            parts.append(f"waits for {place} {self.waits[place]:.0%}")
        return ", ".join(filter(None, parts))

    def emit(self) -> None:
        left = self.seconds_left
        emit(
            "progress",
            description=self.description,
            done=self.done,
            total=self.total,
            per_second=round(self.per_second, 3),
            seconds_left=None if left is None else round(left, 1),
            failed=self.failed,
            waits_for={place: round(share, 3) for place, share in self.waits.items()},
            note=self.note,
        )


@contextmanager
def track(console: Console, description: str, total: int) -> Iterator[Advance]:
    """Shows how far `total` items have come while the block runs."""
    state = _State(description, total)
    last_event = float("-inf")
    with (_bar if console.is_terminal else _lines)(console, state) as draw:

        def advance(
            count: int,
            note: str = "",
            *,
            failed: int = 0,
            waits: Mapping[str, float] | None = None,
            earlier: bool = False,
        ) -> None:
            nonlocal last_event
            state.done += count
            state.earlier += count if earlier else 0
            state.failed += failed
            state.note, state.waits = note, waits or {}
            draw()
            if time.monotonic() - last_event >= EVENT_INTERVAL:
                last_event = time.monotonic()
                state.emit()

        yield advance
    state.emit()


@contextmanager
def _bar(console: Console, state: _State) -> Iterator[Callable[[], None]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()
    with Progress(*columns, TextColumn("{task.fields[remarks]}", markup=False), console=console) as progress:
        task = progress.add_task(f"{state.description:<22}", total=state.total, remarks="")

        def draw() -> None:
            if state.done == state.earlier:
                progress.reset(task, completed=state.done)
            else:
                progress.update(task, completed=state.done, remarks=state.remarks)

        yield draw


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.0f}/s")


@contextmanager
def _lines(console: Console, state: _State) -> Iterator[Callable[[], None]]:
    last = time.monotonic()

    def line() -> str:
        left = f", {state.seconds_left:.0f} s left" if state.seconds_left else ""
        counts = f"{state.description:<22} {state.done}/{state.total}  {state.per_second:.0f}/s{left}"
        return f"{counts}  {state.remarks}".rstrip()

    def draw() -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_INTERVAL:
            last = time.monotonic()
            console.print(line(), markup=False, highlight=False)

    yield draw
    console.print(line(), markup=False, highlight=False)
