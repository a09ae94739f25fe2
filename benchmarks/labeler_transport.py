"""What a served image costs besides its encoding: CPU time of a server whose encoder costs nothing.

python -m benchmarks.labeler_transport --seconds 10

Images are files of 100 kB, a photograph's usual size, with 8 x 8 pixels in them, so that decoding is cheap too; what it
still costs, and hashing the file, which each answer needs, is measured in this process and shown beside the rest.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from itertools import count, takewhile

import cyclopts

from benchmarks import material, reference
from benchmarks.report import report
from benchmarks.target import FREE, ServerProcess, Target, running
from clip_labeler import Image, LabelerClient, Preprocessing

FILE_BYTES = 100_000
VIEW_SIZE = 32
PER_REQUEST = 16  # also what the client puts in one message of a stream


def main(*, seconds: float = 5.0) -> None:
    """Prints a table and a line of JSON.

    Parameters
    ----------
    seconds
        Time per measurement; there are four.
    """
    target = Target(model=FREE, view_size=VIEW_SIZE)
    content = material.tiny_image(0, FILE_BYTES)
    images = [Image(str(number), content) for number in range(PER_REQUEST)]
    preprocessing = Preprocessing("paper", VIEW_SIZE)
    with running(target) as server, LabelerClient(server.address) as client:
        vocabulary = client.create_vocabulary(["person", "car"])

        def stream() -> int:
            end = time.perf_counter() + seconds
            source = (images[0] for _ in takewhile(lambda _: time.perf_counter() < end, count()))
            results = client.score_images(vocabulary, source, preprocessing=preprocessing)
            return sum(result.error is None for result in results)

        def requests() -> int:
            end, done = time.perf_counter() + seconds, 0
            while time.perf_counter() < end:
                done += len(client.score_image_batch(vocabulary, images, preprocessing=preprocessing))
            return done

        served = {
            "stream": _served(server, stream),
            f"requests of {PER_REQUEST}": _served(server, requests),
        }
    within = {
        "of which decoding": _in_process(lambda: reference.decode(content, (VIEW_SIZE, VIEW_SIZE)), seconds),
        "of which hashing": _in_process(lambda: sha256(content).digest(), seconds),
    }
    rows = {name: [rate, f"{cpu:.3f}"] for name, (rate, cpu) in served.items()}
    rows |= {name: ["", f"{cpu:.3f}"] for name, cpu in within.items()}
    milliseconds = {name: cpu for name, (_, cpu) in served.items()} | within
    columns = ["images/s", f"server CPU ms per image of {FILE_BYTES // 1000} kB"]
    report("labeler_transport", target, columns, rows, {"cpu_milliseconds": milliseconds})


def _served(server: ServerProcess, step: Callable[[], int]) -> tuple[float, float]:
    """Images per second, and milliseconds of the server's CPU time for each."""
    cpu, start = server.cpu_seconds(), time.perf_counter()
    done = step()
    return done / (time.perf_counter() - start), 1000 * (server.cpu_seconds() - cpu) / done


def _in_process(step: Callable[[], object], seconds: float) -> float:
    """Milliseconds of CPU time for each step."""
    done, cpu, end = 0, time.thread_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        step()
        done += 1
    return 1000 * (time.thread_time() - cpu) / done


if __name__ == "__main__":
    cyclopts.run(main)
