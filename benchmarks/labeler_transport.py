"""What a served image costs besides its encoding: CPU time of a server whose encoder costs nothing.

python -m benchmarks.labeler_transport --seconds 10

Images are files of 100 kB, a photograph's usual size, with 8 x 8 pixels in them, 16 in a message. Known images, which
the server has in its cache, are neither decoded nor encoded: what is left is the way in, the hash of the file that each
answer has, and the way out. New ones are decoded too, in processes of their own. A bare handler of grpc.aio, which does
not look at what it gets, shows how much of all this is gRPC's. All are timed in turn, three rounds in one run.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from itertools import count, takewhile

import cyclopts
import grpc

from benchmarks import material, reference
from benchmarks.report import report
from benchmarks.target import FREE, ServerProcess, Target, running, started
from clip_labeler import Image, LabelerClient, Preprocessing
from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub

FILE_BYTES = 100_000
VIEW_SIZE = 32
PREPROCESSING = Preprocessing("paper", VIEW_SIZE)
PER_REQUEST = 16  # also what the client puts in one message of a stream
MESSAGES_IN_FLIGHT = 8  # as the client has
ROUNDS = 3


def main(*, seconds: float = 5.0) -> None:
    """Prints a table and a line of JSON.

    Parameters
    ----------
    seconds
        Time per measurement; there are six, three times over.
    """
    target = Target(model=FREE, view_size=VIEW_SIZE)
    content = material.tiny_image(0, FILE_BYTES)
    with ExitStack() as stack:
        bare = stack.enter_context(started("benchmarks.bare_handler"))
        new, known = stack.enter_context(running(target)), stack.enter_context(running(target, cache=True))
        measurements: dict[str, Callable[[], tuple[float, float]]] = {
            "bare handler, stream": partial(_served, bare, _bare_stream(bare, content, seconds)),
            "known images, stream": partial(_served, known, _stream(stack, known, content, seconds)),
            "new images, stream": partial(_served, new, _stream(stack, new, content, seconds)),
            "new images, requests": partial(_served, new, _requests(stack, new, content, seconds)),
            "hashing": partial(_in_process, lambda: sha256(content).digest(), seconds),
            "decoding": partial(_in_process, lambda: reference.decode(content, (VIEW_SIZE, VIEW_SIZE)), seconds),
        }
        rounds = [{name: measure() for name, measure in measurements.items()} for _ in range(ROUNDS)]
    rates, costs = (
        {name: statistics.median(measured[name][which] for measured in rounds) for name in measurements}
        for which in (0, 1)
    )
    costs["known images, less the bare handler and hashing"] = (
        costs["known images, stream"] - costs["bare handler, stream"] - costs["hashing"]
    )
    rows = {name: [rates.get(name), f"{cost:.3f}"] for name, cost in costs.items()}
    columns = ["images/s", f"CPU ms per image of {FILE_BYTES // 1000} kB"]
    report("labeler_transport", target, columns, rows, {"cpu_milliseconds": costs})


def _stream(stack: ExitStack, server: ServerProcess, content: bytes, seconds: float) -> Callable[[], int]:
    client = stack.enter_context(LabelerClient(server.address))
    vocabulary = client.create_vocabulary(["person", "car"])

    def step() -> int:
        images = (Image(str(number), content) for number in _until(seconds))
        results = client.score_images(vocabulary, images, preprocessing=PREPROCESSING)
        return sum(result.error is None for result in results)

    return step


def _requests(stack: ExitStack, server: ServerProcess, content: bytes, seconds: float) -> Callable[[], int]:
    client = stack.enter_context(LabelerClient(server.address))
    vocabulary = client.create_vocabulary(["person", "car"])
    images = [Image(str(number), content) for number in range(PER_REQUEST)]

    def step() -> int:
        return sum(
            len(client.score_image_batch(vocabulary, images, preprocessing=PREPROCESSING)) for _ in _until(seconds)
        )

    return step


def _bare_stream(server: ServerProcess, content: bytes, seconds: float) -> Callable[[], int]:
    request = pb.ScoreImageStreamRequest(
        images=[pb.Image(id=str(number), content=content) for number in range(PER_REQUEST)]
    )

    def step() -> int:
        room = threading.Semaphore(MESSAGES_IN_FLIGHT)

        def requests() -> Iterator[pb.ScoreImageStreamRequest]:
            for _ in _until(seconds):
                room.acquire()
                yield request

        done = 0
        with grpc.insecure_channel(server.address) as channel:
            for response in LabelerServiceStub(channel).ScoreImageStream(requests()):
                room.release()
                done += len(response.results)
        return done

    return step


def _until(seconds: float) -> Iterator[int]:
    """0, 1, 2, ... until the time is over."""
    end = time.perf_counter() + seconds
    return takewhile(lambda _: time.perf_counter() < end, count())


def _served(server: ServerProcess, step: Callable[[], int]) -> tuple[float, float]:
    """Images per second, and milliseconds of the server's CPU time for each."""
    cpu, start = server.cpu_seconds(), time.perf_counter()
    done = step()
    return done / (time.perf_counter() - start), 1000 * (server.cpu_seconds() - cpu) / done


def _in_process(step: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Steps per second, and milliseconds of CPU time for each."""
    cpu, start = time.thread_time(), time.perf_counter()
    done = sum(1 for _ in _until(seconds) if step() is not None)
    return done / (time.perf_counter() - start), 1000 * (time.thread_time() - cpu) / done


if __name__ == "__main__":
    cyclopts.run(main)
