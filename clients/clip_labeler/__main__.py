"""The command line `clip-labeler-client`: scores a folder of images into a CSV file, or shows where the time goes.

argparse, unlike the other commands of this project: the client's install stays light.
"""

import argparse
import csv
import itertools
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from clip_labeler import bench as benchmark
from clip_labeler.base import FIRST_CONTACT_SECONDS, MAX_REQUESTS_IN_FLIGHT
from clip_labeler.client import LabelerClient
from clip_labeler.credentials import Credentials
from clip_labeler.errors import (
    AccessDeniedError,
    DeadlineError,
    InvalidRequestError,
    LabelerError,
    OverloadedError,
    UnavailableError,
)
from clip_labeler.messages import PROFILES
from clip_labeler.values import Calibration, EntropyGate, FloatArray, Image, ImageScores, Preprocessing

EXIT_FAILED = 1
EXIT_MISUSE = 2
EXIT_UNREACHABLE = 4
EXIT_BROKEN_IMAGES = 5

# Other files of the folder are left out.
IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

# Threshold of paper section 3.3, on entropy relative to ln(classes): in nats 0.5 would keep none but rows that are
# nearly certain, and the bias of every class would be close to 1.
ENTROPY_GATE = EntropyGate(max_entropy=0.5, unit="normalized")

# Held in memory; more would measure the disk.
MAX_BENCH_IMAGES = 256

TOKEN_VARIABLE = "CLIP_LABELER_TOKEN"

Row = tuple[str, FloatArray]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status, after one line on stderr if that is not 0."""
    args = _parser().parse_args(arguments)
    try:
        with LabelerClient(args.labeler, credentials=_credentials(args), max_wait=args.max_wait) as client:
            return int(args.command(client, args))
    except (UnavailableError, DeadlineError, OverloadedError) as error:
        return _fail(error, EXIT_UNREACHABLE)
    except (ValueError, OSError, InvalidRequestError, AccessDeniedError) as error:
        return _fail(error, EXIT_MISUSE)
    except LabelerError as error:
        return _fail(error, EXIT_FAILED)


def info(client: LabelerClient, args: argparse.Namespace) -> int:
    """Prints the labeler's model and limits, one a line."""
    server_info = vars(client.server_info())
    limits = vars(server_info.pop("limits"))
    for name, value in {**server_info, **limits}.items():
        print(f"{name}: {value}")
    return 0


def score(client: LabelerClient, args: argparse.Namespace) -> int:
    """Writes a row of scores for each image of a folder, in the order of the files."""
    names = find_images(args.folder)
    broken: set[str] = set()
    vocabulary = client.create_vocabulary(class_names(args.classes))
    results = client.score_images(
        vocabulary,
        read_images(args.folder, names, broken),
        preprocessing=Preprocessing(args.profile, view_size=args.view_size),
    )
    rows: Iterable[Row] = in_order(names, with_progress(results, len(names)), broken)
    if args.debias:
        rows = debias(client, list(rows))
    with _output(args.output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file_name", *vocabulary.class_names])
        for name, scores in rows:
            writer.writerow([name, *map(str, scores)])  # the shortest digits that give the same float32 again
    return EXIT_BROKEN_IMAGES if broken else 0


def bench(client: LabelerClient, args: argparse.Namespace) -> int:
    """Prints where the time of requests goes."""
    if not 1 <= args.concurrency <= MAX_REQUESTS_IN_FLIGHT:
        raise ValueError(f"--concurrency must lie between 1 and {MAX_REQUESTS_IN_FLIGHT}, got {args.concurrency}")
    if args.images is None:
        contents = benchmark.drawn_images()
    else:
        names = itertools.islice(find_images(args.images), MAX_BENCH_IMAGES)
        contents = [(args.images / name).read_bytes() for name in names]
    preprocessing = Preprocessing(args.profile, view_size=args.view_size)
    load = benchmark.Load(contents, preprocessing, args.seconds, args.concurrency, args.batch_size)
    result = benchmark.run(client, load)
    print(json.dumps(result, indent=2) if args.json else benchmark.table(result))
    return 0


def class_names(text: str) -> list[str]:
    """Names separated by commas, or the lines of a file; blank ones are left out."""
    names = Path(text).read_text("utf-8").splitlines() if Path(text).is_file() else text.split(",")
    return [name.strip() for name in names if name.strip()]


def find_images(folder: Path) -> list[str]:
    """POSIX paths of all image files below `folder`, relative to it, sorted."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    files = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in files)
    if not names:
        raise ValueError(f"{folder} holds no image; looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    return names


def read_images(folder: Path, names: Iterable[str], broken: set[str]) -> Iterator[Image]:
    """The files' contents; one that cannot be read is reported and added to `broken`."""
    for name in names:
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            _report(name, error.strerror or str(error), broken)
        else:
            yield Image(name, content)


def in_order(names: Iterable[str], results: Iterable[ImageScores], broken: set[str]) -> Iterator[Row]:
    """Rows in the order of `names`, each held back until its turn; images that failed are added to `broken`."""
    waiting: dict[str, FloatArray] = {}
    pending = deque(names)
    for result in results:
        if result.error is None:
            waiting[result.id] = result.scores
        else:
            _report(result.id, result.error.message, broken)
        while pending and (pending[0] in waiting or pending[0] in broken):
            name = pending.popleft()
            if name in waiting:
                yield name, waiting.pop(name)


def debias(client: LabelerClient, rows: Sequence[Row]) -> Iterator[Row]:
    """Rows without the class bias that they show (paper section 3.3), limited to 1."""
    if not rows:
        return
    probs_NC = np.stack([probs_C for _, probs_C in rows])
    estimate = client.estimate_bias(probs_NC, gate=ENTROPY_GATE)
    labels_NC = client.apply_bias(probs_NC, Calibration(estimate.bias, clamp=True))
    yield from zip((name for name, _ in rows), labels_NC, strict=True)


def with_progress(results: Iterable[ImageScores], total: int) -> Iterator[ImageScores]:
    """The same results; counts them on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield from results
        return
    for number, result in enumerate(results, 1):
        print(f"\r{number} of {total} images", end="", file=sys.stderr, flush=True)
        yield result
    print(file=sys.stderr)


def _credentials(args: argparse.Namespace) -> Credentials:
    token = None if args.token_file else os.environ.get(TOKEN_VARIABLE)
    return Credentials(args.ca, args.cert, args.key, token, args.token_file, tls=args.tls)


def _output(path: Path | None) -> TextIO:
    """The file, or standard output. Names of files may hold bytes that are no UTF-8: they come out as they were."""
    target = sys.stdout.fileno() if path is None else path
    return open(target, "w", encoding="utf-8", errors="surrogateescape", newline="", closefd=path is not None)


def _report(name: str, reason: str, broken: set[str]) -> None:
    broken.add(name)
    print(f"{name!r} was left out: {reason}", file=sys.stderr)


def _fail(error: Exception, status: int) -> int:
    print(f"clip-labeler-client: {error}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--labeler",
        default="127.0.0.1:50051",
        metavar="HOST:PORT[,HOST:PORT...]",
        help="address, or those of several replicas; dns:///NAME:PORT for all of a name (default: %(default)s)",
    )
    common.add_argument(
        "--max-wait",
        type=float,
        default=FIRST_CONTACT_SECONDS,
        metavar="SECONDS",
        help="give up on a labeler that does not answer after this long (default: %(default)g)",
    )
    common.add_argument("--tls", action="store_true", help="use TLS, and trust the public authorities")
    common.add_argument("--ca", type=Path, metavar="FILE", help="use TLS, and trust these authorities (PEM)")
    common.add_argument("--cert", type=Path, metavar="FILE", help="use TLS with this client certificate (PEM)")
    common.add_argument("--key", type=Path, metavar="FILE", help="its private key (PEM)")
    common.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"holds a bearer token (default: ${TOKEN_VARIABLE}, if set)"
    )
    viewed = argparse.ArgumentParser(add_help=False)
    viewed.add_argument(
        "--profile", choices=list(PROFILES), default="paper", help="preprocessing (default: %(default)s)"
    )
    viewed.add_argument(
        "--view-size", type=int, default=0, metavar="N", help="pixels of the side that CLIP sees (default: the model's)"
    )
    parser = argparse.ArgumentParser("clip-labeler-client", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("score", parents=[common, viewed], help="score a folder of images into a CSV file")
    command.set_defaults(command=score)
    command.add_argument("folder", type=Path, metavar="DIR", help="searched for images, with the folders below it")
    command.add_argument(
        "--classes", required=True, metavar='"A, B"|FILE', help="class names, or a file with one a line"
    )
    command.add_argument("--debias", action="store_true", help="remove the class bias that the images show")
    command.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")

    command = commands.add_parser("bench", parents=[common, viewed], help="show where the time of requests goes")
    command.set_defaults(command=bench)
    command.add_argument("--images", type=Path, metavar="DIR", help="images to send (default: drawn ones, 640 x 480)")
    command.add_argument("--seconds", type=float, default=10.0, metavar="N", help="default: %(default)g")
    command.add_argument(
        "--concurrency", type=int, default=4, metavar="K", help="requests at a time (default: %(default)s)"
    )
    command.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="images per request (default: %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")

    command = commands.add_parser("info", parents=[common], help="print the labeler's model and limits")
    command.set_defaults(command=info)
    return parser


if __name__ == "__main__":
    sys.exit(main())
