"""Progress with rate and time left: a bar on a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

# Seconds between lines where nobody watches a bar: a log of an hour stays readable.
LINE_INTERVAL = 10.0


class Advance(Protocol):
    """Reports that `count` more items are finished, and optionally a word on the state, such as the loss."""

    def __call__(self, count: int, note: str = "") -> None: ...


@contextmanager
def track(console: Console, description: str, total: int) -> Iterator[Advance]:
    """Shows how far `total` items have come while the block runs."""
    shown = _bar(console, description, total) if console.is_terminal else _lines(console, description, total)
    with shown as advance:
        yield advance


@contextmanager
def _bar(console: Console, description: str, total: int) -> Iterator[Advance]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as progress:
        task = progress.add_task(f"{description:<22}", total=total, note="")

        def advance(count: int, note: str = "") -> None:
            progress.update(task, advance=count, note=note)

        yield advance


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.0f}/s")


@contextmanager
def _lines(console: Console, description: str, total: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    done, noted = 0, ""

    def line() -> str:
        rate = done / max(time.monotonic() - start, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if 0 < done < total else ""
        return f"{description:<22} {done}/{total}  {rate:.0f}/s{left}  {noted}".rstrip()

    def advance(count: int, note: str = "") -> None:
        nonlocal done, last, noted
        done, noted = done + count, note
        if time.monotonic() - last >= LINE_INTERVAL:
            last = time.monotonic()
            console.print(line(), highlight=False)

    yield advance
    console.print(line(), highlight=False)
