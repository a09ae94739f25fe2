"""Command line of the labeler: `clip-labeler serve`, which is `python -m labeler_service serve`."""

import os
import sys
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env

from labeler_service.config import ServerConfig

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
    # Read when torch is imported. GCC's OpenMP threads spin 300,000 times while they wait, which takes the cores from
    # decoders and callers, whose threads make a batch take up to five times as long. So short a spin costs nobody
    # anything: RN50 at 224 pixels on two cores takes 92 ms for one view and 65 for each of eight, where the default
    # takes 87 and 63, and none at all (OMP_WAIT_POLICY=PASSIVE) 103 to 113 and 66.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # oneDNN keeps kernels for the 1,024 shapes and batch sizes of late, up to a megabyte each. These are enough for the
    # layers of one ResNet-50 in five of them; memory is then flat after the first minute, at the same speed.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
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
