"""What all commands share: the application, exit codes, and what is said at the end of a run.

Heavy imports stay inside the commands, so that --help is instant.
"""

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.config import Env

from trainer import __version__
from trainer.config import RunConfig

if TYPE_CHECKING:
    from rich.console import Console

PEER_LOST, WRONG_USE, BAD_DATA, UNREACHABLE, PARTIAL = 1, 2, 3, 4, 5

app = App(
    name="ccd",
    version=__version__,
    help="Train a multi-label image classifier from unlabelled images and a list of class names.",
    config=Env("CCD_", command=False),
)

Flags = Annotated[RunConfig, Parameter(name="*")]


def write_report_of(folder: Path, console: "Console") -> bool:
    """The end of a run, which is finished whatever happens here: a failure is told, and why, and False returned."""
    from trainer.events import emit
    from trainer.report.page import write_report

    try:
        path = write_report(folder).absolute()
        console.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)
        emit("report", path=str(path))
    except Exception as error:  # whatever it is, the run is whole
        if not isinstance(error, OSError | ValueError):
            traceback.print_exc()
        fail(PARTIAL, f"the run is finished, but its report could not be written: {error}; see `ccd report {folder}`")
        return False
    return True


def fail(code: int, reason: object, *, known_to_all: bool = False) -> int:
    """Under torchrun one process says what all know; what went wrong in one alone, it says itself."""
    if rank() == 0 or not known_to_all:
        print(f"ccd: {f'process {rank()}: ' if rank() else ''}{reason}", file=sys.stderr)
    return code


def rank() -> int:
    """torchrun's number of this process; 0 is the main one, and one that is alone."""
    return int(os.environ.get("RANK", "0"))


def refuse_torchrun(command: str) -> None:
    """Ends a command that several processes would all do. Raises ValueError in the main one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if rank():
            sys.exit(WRONG_USE)
        raise ValueError(f"ccd {command} is one process; torchrun is for ccd run")
