"""Memory of server and client while images stream through, one in a hundred of them broken: it must stay flat.

python -m benchmarks.labeler_memory --items 100000
python -m benchmarks.labeler_memory --items 10000 --model none     # a server without torch's memory, so more sensitive
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import cyclopts
import numpy as np
import psutil

from benchmarks import material
from benchmarks.report import report
from benchmarks.target import ServerProcess, Target, private_memory, ready_target, running
from clip_labeler import Image, LabelerClient, Preprocessing

NUM_IMAGES = 100  # different ones, one of them broken
SAMPLES = 100
MAX_DRIFT = 0.01


@dataclass
class Memory:
    """Private bytes, at even distances of work."""

    server: list[int] = field(default_factory=list)
    client: list[int] = field(default_factory=list)
    num_failed: int = 0


def main(
    target: Annotated[Target, cyclopts.Parameter(name="*")] = Target(view_size=32),  # noqa: B008
    *,
    items: int = 100_000,
) -> int:
    """Prints a table and a line of JSON; exit status 1 when memory grew by over 1 %.

    Parameters
    ----------
    items
        Images to score; memory is compared between their second and their last tenth.
    """
    with ready_target(target) as ready, running(ready) as server:
        memory = measure(server, target.view_size, items)
    columns = ["second tenth MiB", "last tenth MiB", "drift"]
    drifts = {"server": drift(memory.server), "client": drift(memory.client)}
    rows = {
        name: [_tenth(samples, 1) / 2**20, _tenth(samples, 9) / 2**20, f"{drifts[name]:+.2%}"]
        for name, samples in (("server", memory.server), ("client", memory.client))
    }
    figures = {"items": items, "failed": memory.num_failed, "drift": drifts, "server_bytes": memory.server}
    report("labeler_memory", target, columns, rows, figures)
    return int(max(drifts.values()) > MAX_DRIFT)


def measure(server: ServerProcess, view_size: int, items: int) -> Memory:
    """Memory while that many images are scored, by one stream."""
    contents = [material.tiny_image(seed) for seed in range(NUM_IMAGES - 1)] + [b"broken"]
    memory, process = Memory(), psutil.Process()
    images: Iterator[Image] = (Image(str(number), contents[number % NUM_IMAGES]) for number in range(items))
    with LabelerClient(server.address) as client:
        vocabulary = client.create_vocabulary(["person", "car"])
        results = client.score_images(vocabulary, images, preprocessing=Preprocessing("paper", view_size))
        for number, result in enumerate(results):
            memory.num_failed += result.error is not None
            if number % max(1, items // SAMPLES) == 0:
                memory.server.append(server.memory())
                memory.client.append(private_memory(process))
    return memory


def drift(samples: Sequence[float]) -> float:
    """Growth from the second tenth of the samples to the last, as a share; the first tenth fills pools and caches."""
    return _tenth(samples, 9) / _tenth(samples, 1) - 1


def _tenth(samples: Sequence[float], number: int) -> float:
    """What a tenth of the samples stays over nearly always: what work in flight holds comes and goes, a leak stays."""
    step = max(1, len(samples) // 10)
    return float(np.percentile(samples[number * step : (number + 1) * step] or samples[-1:], 10))


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
