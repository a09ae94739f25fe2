"""The main process leads a run: it announces what all are to do, and the others do their shares until it is over.

So only one process decides, and whatever it does alone needs no word to the others. Alone in the world, it announces
nothing and does the whole work itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from clip_labeler import LabelerError
from trainer import distributed

Item = TypeVar("Item")
Result = TypeVar("Result")

Work = Callable[[Sequence[Item]], Iterable[Result]]

# A task of the followers, called with what was announced.
Task = Callable[..., object]


def announce(task: str, *arguments: Any) -> None:
    """Main process: all others begin this task, by its name in their table."""
    if distributed.world_size() > 1:
        distributed.broadcast((task, arguments))


def follow(tasks: Mapping[str, Task]) -> None:
    """All others: do what is announced, until `dismiss`."""
    while (announced := distributed.broadcast()) is not None:
        task, arguments = announced
        tasks[task](*arguments)


def dismiss() -> None:
    """Main process: the run is over."""
    if distributed.world_size() > 1:
        distributed.broadcast(None)


def shared(
    task: str,
    items: Sequence[Item],
    work: Work[Item, Result],
    *context: Any,
    per_round: int,
    helpers: int | None = None,
) -> Iterator[Result]:
    """Main process: the results of `work` for all items, of which each process does every so-manieth.

    The items go out in rounds, `per_round` for each process, so that what was done is not lost with a process that
    dies later. The main process's own results come at once, those of the others at the end of the round. `task` is what
    the others call with (*context, their items); it must end in `hand_in`. Only the first `helpers` processes take
    part; all do when None. Raises LabelerError or ValueError where another process's work failed.
    """
    size = distributed.world_size()
    if size == 1:
        yield from work(items)
        return
    hands = min(helpers or size, size)
    for start in range(0, len(items), hands * per_round):
        batch = items[start : start + hands * per_round]
        shares = [batch[rank::hands] if rank < hands else batch[:0] for rank in range(size)]
        announce(task, *context, shares)
        yield from work(shares[0])
        outcomes: list[list[Result] | Exception] = distributed.gather([])
        for outcome in outcomes[1:]:
            if isinstance(outcome, Exception):
                raise outcome
            yield from outcome


def hand_in(shares: Sequence[Sequence[Item]], work: Work[Item, Result]) -> None:
    """All others: does the own share of what `shared` announced. What goes wrong is for the main process to report."""
    outcome: list[Result] | Exception
    try:
        share = shares[distributed.rank()]
        outcome = list(work(share)) if len(share) else []
    except LabelerError as error:  # by its message: not every error survives pickling
        outcome = LabelerError(str(error))
    except (ValueError, OSError) as error:
        outcome = ValueError(str(error))
    distributed.gather(outcome)
