"""Command line of the labeler: `clip-labeler serve`, which is `python -m labeler_service serve`."""

import sys
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env

from labeler_service.config import ServerConfig
from labeler_service.cpu import share_cpu
from labeler_service.memory import keep_one_arena

USAGE_ERROR = 2

app = App(
    name="clip-labeler",
    help="A gRPC server that labels images with CLIP.",
    config=Env("LABELER_", command=False),
    result_action="return_value",
)


@app.command
def serve(config: Annotated[ServerConfig, Parameter(name="*")] = ServerConfig()) -> int:  # noqa: B008
    """Serve a CLIP model until SIGTERM or SIGINT.

    Prints "serving MODEL at HOST:PORT" once it answers. Every flag can also be given as LABELER_FLAG in the
    environment.
    """
    share_cpu()
    keep_one_arena()
    # Imported here because torch takes seconds: --help and a misspelt flag answer at once.
    from labeler_service.server import run

    return run(config)


def main() -> None:
    """Runs the command line; a mistake of the user is one line and exit status 2."""
    try:
        status = app(exit_on_error=False, print_error=False)
    except (CycloptsError, ValueError) as error:
        print(f"clip-labeler: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    sys.exit(status)


if __name__ == "__main__":
    main()
