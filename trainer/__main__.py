"""The command line `ccd`, also `python -m trainer`. Heavy imports stay inside the commands, so that --help is instant.

Exit codes: 0 done; 1 `doctor` found what would end a run; 2 wrong use; 3 unusable data; 4 labeler unreachable; 5 done,
but some images could not be used or the report could not be written. Under torchrun 0 also then, and 1 where another
process has ended.
"""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.config import Env, Yaml

from trainer.commands import comparisons, exports, machine, models, review, runs
from trainer.commands.application import BAD_DATA, PEER_LOST, UNREACHABLE, WRONG_USE, app, fail, rank

# Importing a module adds its commands.
__all__ = ["app", "comparisons", "exports", "machine", "main", "models", "review", "runs"]


@app.meta.default
def _with_file(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], config: Path | None = None
) -> int:
    """
    Parameters
    ----------
    config
        YAML file of settings; flags and CCD_* variables go first.
    """
    files = [] if config is None else [Yaml(config, must_exist=True, use_commands_as_keys=False)]
    app.config = (Env("CCD_", command=False), *files)
    code = app(tokens, result_action="return_value")
    return code if isinstance(code, int) else 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and turns what a user can mend into one line and an exit code.

    `arguments` default to the process's own.
    """
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)  # what is below goes to the run's own log
    logging.basicConfig(handlers=[handler], format="%(levelname)s %(message)s")
    if isinstance(sys.stdout, TextIOWrapper):  # what a terminal cannot show, such as a folder's name, ends no run
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    app.print_error = app.meta.print_error = rank() == 0
    sys.exit(_guarded(lambda: app.meta(arguments, result_action="return_value")))


def _guarded(command: Callable[[], object]) -> int:
    from clip_labeler import LabelerError

    try:
        code = command()
    except LabelerError as error:
        return fail(UNREACHABLE, error)
    except (ValueError, FloatingPointError) as error:
        from trainer.session import DataError

        code = BAD_DATA if isinstance(error, DataError) else WRONG_USE
        return fail(code, error, known_to_all=isinstance(error, FloatingPointError))
    except RuntimeError as error:
        from trainer.distributed import PeerLostError

        if not isinstance(error, PeerLostError):
            raise
        return fail(PEER_LOST, error, known_to_all=True)
    except KeyboardInterrupt:
        return fail(130, "interrupted; the same command goes on from here", known_to_all=True)
    return code if isinstance(code, int) else 0


def _terminate(signum: int, frame: object) -> None:
    """SIGTERM unwinds the stack, so that the run's own labeler is stopped."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
