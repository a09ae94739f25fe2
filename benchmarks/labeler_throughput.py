"""Images per second through a real labeler process, over what its encoder alone does and over one image at a time.

python -m benchmarks.labeler_throughput --model demo --view-size 96 --seconds 5

The encoder alone (R) gets decoded pixels in full batches; the decoder alone (D) uses all cores; "one at a time" decodes
and encodes image by image in this process, as the paper's released code does. All are timed in turn, three rounds in
one run, and the medians compared: machines are noisy.
"""

import io
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import cyclopts
import numpy as np
from PIL import Image as PillowImage
from rich.console import Console
from rich.table import Table

from clip_labeler import Image, LabelerClient, Preprocessing
from labeler_service.backends import Backend
from labeler_service.backends.torch_backend import TorchBackend
from labeler_service.config import ServerConfig
from trainer.labeler_process import LabelerProcess

ROUNDS = 3
BATCH = 32
CLASSES = ("person", "car", "tree", "cat")


def main(
    *, model: str = "demo", pretrained: str = "", device: str = "auto", view_size: int = 96, seconds: float = 5.0
) -> None:
    """Prints a table and a line of JSON.

    Parameters
    ----------
    model, pretrained, device
        As for `clip-labeler serve`.
    view_size
        Side of the squashed image that CLIP sees, in pixels.
    seconds
        Time per measurement.
    """
    # Without its cache, which would answer from the second image of a kind on.
    flags = ["--model", model, "--device", device, "--cache-bytes", "0"]
    flags += ["--pretrained", pretrained] if pretrained else []
    backend = TorchBackend(ServerConfig(model=model, pretrained=pretrained or None, device=device))
    contents = [_photo(seed) for seed in range(64)]
    with LabelerProcess(flags) as server, LabelerClient(server.address) as client:
        measurements: dict[str, Callable[[], float]] = {
            "encoder alone (R)": lambda: _encoder(backend, view_size, seconds),
            "decoder alone (D)": lambda: _decoder(contents, view_size, seconds),
            "one at a time": lambda: _one_at_a_time(backend, contents, view_size, seconds),
            "served": lambda: _served(client, contents, view_size, seconds),
        }
        rates: dict[str, list[float]] = {name: [] for name in measurements}
        for _ in range(ROUNDS):
            for name, measure in measurements.items():
                rates[name].append(measure())
    _report({name: statistics.median(values) for name, values in rates.items()}, model, view_size)


def _photo(seed: int) -> bytes:
    """A JPEG of VOC's usual size with a photograph's amount of detail."""
    rng = np.random.default_rng(seed)
    coarse = PillowImage.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
    noisy = np.clip(np.asarray(coarse) + rng.normal(0, 8, (375, 500, 3)), 0, 255).astype(np.uint8)
    content = io.BytesIO()
    PillowImage.fromarray(noisy).save(content, "JPEG", quality=90)
    return content.getvalue()


def _squash(content: bytes, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = PillowImage.open(io.BytesIO(content)).convert("RGB")
    return np.asarray(image.resize((size, size), PillowImage.Resampling.BILINEAR))


def _rate(step: Callable[[], int], seconds: float) -> float:
    """Items per second of a step that says how many it did."""
    step()  # warm
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        done += step()
    return done / spent


def _encoder(backend: Backend, size: int, seconds: float) -> float:
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    return _rate(lambda: len(backend.encode_images(pixels, backend.info.normalization)), seconds)


def _decoder(contents: list[bytes], size: int, seconds: float) -> float:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return _rate(lambda: len(list(pool.map(lambda content: _squash(content, size), contents))), seconds)


def _one_at_a_time(backend: Backend, contents: list[bytes], size: int, seconds: float) -> float:
    source = itertools.cycle(contents)

    def step() -> int:
        pixels = _squash(next(source), size)[None]
        return len(backend.encode_images(pixels, backend.info.normalization))

    return _rate(step, seconds)


def _served(client: LabelerClient, contents: list[bytes], size: int, seconds: float) -> float:
    vocabulary = client.create_vocabulary(CLASSES)
    end = time.perf_counter() + seconds

    def images() -> Iterator[Image]:
        for number in itertools.count():
            if time.perf_counter() > end:
                return
            yield Image(str(number), contents[number % len(contents)])

    start = time.perf_counter()
    results = client.score_images(vocabulary, images(), preprocessing=Preprocessing("paper", size))
    done = sum(result.error is None for result in results)
    return done / (time.perf_counter() - start)


def _report(rates: dict[str, float], model: str, size: int) -> None:
    served = rates["served"]
    table = Table("", "images/s", "served is", title=f"{model} at {size} px, {os.cpu_count()} cores")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:.0f}", f"{served / rate:.2f} x")
    Console().print(table)
    print(json.dumps({"model": model, "view_size": size, "images_per_second": rates}))


if __name__ == "__main__":
    cyclopts.run(main)
