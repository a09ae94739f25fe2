"""Where the time of score requests goes, as their client sees it: a closed loop of unary requests for some seconds.

Each row of the table is the mean time that an image spends there; together they are the mean time of a request:

    client   building, hashing and checking here, and waiting after a refusal
    network  the round trip without what the labeler says it took: gRPC on both sides and the wire
    decode   the image's own decoding and resizing
    queue    the image's own waiting for a batch and for the device
    device   the image's own share of the batch that it was part of
    others   the rest: waiting for a free decoder, and for the other images of its batch and of its request
"""

import itertools
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clip_labeler.client import LabelerClient
from clip_labeler.values import Image, Preprocessing, Timings

# As many as Pascal VOC has; their number hardly matters for the time.
CLASS_NAMES = [f"class {number}" for number in range(20)]
# Enough that the processor's caches do not flatter, little to hold.
NUM_DRAWN = 32
DRAWN_WIDTH, DRAWN_HEIGHT = 640, 480


@dataclass(frozen=True)
class Load:
    """What is asked of the labeler. `contents` are encoded images, taken in turn."""

    contents: Sequence[bytes]
    preprocessing: Preprocessing
    seconds: float
    concurrency: int
    batch_size: int


@dataclass
class Sample:
    """Requests that were answered: seconds of each, in all and by place."""

    num_images: int = 0
    num_failed: int = 0
    requests: list[float] = field(default_factory=list)
    places: dict[str, float] = field(default_factory=dict)

    def add(self, seconds: float, timings: Timings, num_failed: int) -> None:
        """A request of `seconds` in all; its places are weighted by its images."""
        round_trip = timings.round_trip or 0.0
        sums = {"decode": timings.decode, "queue": timings.queue, "device": timings.device}
        whole = {"client": seconds - round_trip, "network": round_trip - timings.server}
        places = {name: value * timings.num_items for name, value in whole.items()} | sums
        places["others"] = timings.server * timings.num_items - sum(sums.values())
        for name, value in places.items():
            self.places[name] = self.places.get(name, 0.0) + value
        self.num_images += timings.num_items
        self.num_failed += num_failed
        self.requests.append(seconds)


def run(client: LabelerClient, load: Load) -> dict[str, Any]:
    """Measures; the result is fit for JSON. At least one request of each of the `concurrency` is waited for."""
    vocabulary = client.create_vocabulary(CLASS_NAMES)
    info = client.server_info()
    images, sample, lock = _endless(load.contents), Sample(), threading.Lock()
    answered = threading.local()  # the client hands the timings over in the thread that asked
    client.on_timings = lambda timings: setattr(answered, "timings", timings)

    def score() -> None:
        with lock:
            batch = list(itertools.islice(images, load.batch_size))
        began = time.perf_counter()
        results = client.score_image_batch(vocabulary, batch, preprocessing=load.preprocessing)
        seconds = time.perf_counter() - began
        with lock:
            sample.add(seconds, answered.timings, sum(result.error is not None for result in results))

    def work(_: int) -> None:
        while time.perf_counter() < began + load.seconds:
            score()

    score()
    sample = Sample()  # the first request warms up and does not count
    began = time.perf_counter()
    with ThreadPoolExecutor(load.concurrency) as executor:
        list(executor.map(work, range(load.concurrency)))
    return _result(sample, time.perf_counter() - began) | {
        "labeler": {"target": client.target, "model": info.model_name, "device": info.device, "dtype": info.dtype},
        "concurrency": load.concurrency,
        "batch_size": load.batch_size,
    }


def table(result: dict[str, Any]) -> str:
    """The result of `run` in plain text."""
    labeler = result["labeler"]
    lines = [
        f"{labeler['model']} ({labeler['dtype']} on {labeler['device']}) at {labeler['target']}",
        f"{result['images']} images in {result['seconds']:.1f} s, "
        f"{result['concurrency']} requests of {result['batch_size']} at a time: "
        f"{result['images_per_second']:.1f} images/s",
        f"request: p50 {result['request_ms']['p50']:.1f} ms, p99 {result['request_ms']['p99']:.1f} ms",
        "",
        f"{'an image spends':<16}{'ms':>10}{'share':>8}",
    ]
    lines += [f"{name:<16}{place['ms']:>10.2f}{place['share']:>8.1%}" for name, place in result["places"].items()]
    if result["failed"]:
        lines += ["", f"{result['failed']} images could not be scored"]
    return "\n".join(lines)


def drawn_images() -> list[bytes]:
    """Encoded images of coloured blocks, which need no folder. PNG, as the client has no JPEG encoder."""
    blocks = np.random.default_rng(0).integers(0, 256, (NUM_DRAWN, 12, 16, 3), dtype=np.uint8)
    scale = DRAWN_HEIGHT // blocks.shape[1]
    return [_png(pixels.repeat(scale, axis=0).repeat(scale, axis=1)) for pixels in blocks]


def _endless(contents: Sequence[bytes]) -> Iterator[Image]:
    """Images in turn. Each gets a number behind its end, which decoders skip, so that no cache knows its answer."""
    start = time.time_ns()
    for number, content in enumerate(itertools.cycle(contents)):
        yield Image(str(number), content + struct.pack(">Q", start + number))


def _result(sample: Sample, seconds: float) -> dict[str, Any]:
    total = sum(sample.places.values())
    p50, p99 = np.percentile(np.array(sample.requests) * 1000, [50, 99])
    return {
        "images": sample.num_images,
        "failed": sample.num_failed,
        "seconds": seconds,
        "images_per_second": sample.num_images / seconds,
        "request_ms": {"p50": float(p50), "p99": float(p99)},
        "places": {
            name: {"ms": value / sample.num_images * 1000, "share": value / total}
            for name, value in sample.places.items()
        },
    }


def _png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """(H, W, 3) uint8 as an RGB file (https://www.w3.org/TR/png-3/)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    rows = np.insert(pixels.reshape(height, width * 3), 0, 0, axis=1)  # each row begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
