"""Views per second through a real labeler process, over what its encoder alone does and over one view at a time.

python -m benchmarks.labeler_throughput --model RN50 --random-weights --view-size 224 --seconds 20

The encoder alone (R) gets decoded pixels in batches of the size that it is fastest with, of crops in the mix of their
shapes; the decoder alone (D) uses all cores; "one at a time" decodes and encodes view by view in this process, as the
paper's released code does. What is served is a number of images that the encoder alone would need the given time for,
from the first request to the last answer. All are timed in turn, three rounds in one run, and the medians compared:
machines are noisy.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated

import cyclopts

from benchmarks import material, reference
from benchmarks.report import report
from benchmarks.target import Target, ready_target, running
from clip_labeler import BoxedImage, Image, LabelerClient, Preprocessing
from labeler_service.backends import Backend
from labeler_service.images import Profile, ViewGeometry

ROUNDS = 3
NUM_PHOTOS = 64
BOXES_PER_PHOTO = 8
CLASSES = ("person", "car", "tree", "cat")
CLIENTS = (1, 2, 4)

IMAGES_SERVED, CROPS_SERVED = "images: served, clients: 1", "crops: served"

Measurements = dict[str, Callable[[], float]]


def main(
    target: Annotated[Target, cyclopts.Parameter(name="*")] = Target(),  # noqa: B008
    *,
    seconds: float = 5.0,
) -> None:
    """Prints a table and a line of JSON.

    Parameters
    ----------
    seconds
        Time per measurement; there are nine, three times over.
    """
    photos = [material.photo(seed) for seed in range(NUM_PHOTOS)]
    with ready_target(target) as ready, running(ready) as server:
        backend = ready.load_encoder()
        clients = [LabelerClient(server.address) for _ in range(max(CLIENTS))]
        side = target.view_size
        batch_pixels = reference.best_batch(backend, (side, side), seconds)
        images = _images(backend, clients, photos, side, batch_pixels, seconds)
        crops = _crops(backend, clients[0], photos, side, batch_pixels, seconds)
        rates = _medians({**images, **crops})
        for client in clients:
            client.close()
    ratios = {
        "images: served / R": rates[IMAGES_SERVED] / rates["images: encoder alone (R)"],
        "crops: served / R": rates[CROPS_SERVED] / rates["crops: encoder alone (R)"],
        "labelling: served / one at a time": _photos_per_second(rates[IMAGES_SERVED], rates[CROPS_SERVED])
        / _photos_per_second(rates["images: one at a time"], rates["crops: one at a time"]),
    }
    rows = {name: [value, ""] for name, value in rates.items()} | {name: ["", value] for name, value in ratios.items()}
    report("labeler_throughput", target, ["views/s", "ratio"], rows, {"views_per_second": rates, "ratios": ratios})


def _images(
    backend: Backend,
    clients: Sequence[LabelerClient],
    photos: Sequence[bytes],
    size: int,
    batch_pixels: int,
    seconds: float,
) -> Measurements:
    """Of global views."""
    shape = (size, size)

    def encoder() -> float:
        return reference.encoder(backend, Counter([shape]), batch_pixels, seconds)

    num_images = round(encoder() * seconds)

    def one_client(client: LabelerClient, share: int) -> None:
        vocabulary = client.create_vocabulary(CLASSES)
        images = (Image(str(number), photos[number % len(photos)]) for number in range(share))
        results = client.score_images(vocabulary, images, preprocessing=Preprocessing("paper", size))
        assert sum(result.error is None for result in results) == share

    def served(num_clients: int) -> float:
        share = max(1, num_images // num_clients)
        start = time.perf_counter()
        with ThreadPoolExecutor(num_clients) as pool:
            list(pool.map(one_client, clients[:num_clients], [share] * num_clients))
        return share * num_clients / (time.perf_counter() - start)

    return {
        "images: encoder alone (R)": encoder,
        "images: decoder alone (D)": lambda: reference.decoder(photos, shape, seconds),
        "images: one at a time": lambda: reference.one_at_a_time(backend, photos, shape, seconds),
        **{f"images: served, clients: {number}": partial(served, number) for number in CLIENTS},
    }


def _crops(
    backend: Backend, client: LabelerClient, photos: Sequence[bytes], size: int, batch_pixels: int, seconds: float
) -> Measurements:
    """Of local views, whose shapes are mixed."""
    info = backend.info
    geometry = ViewGeometry(Profile.BUCKETED, size, info.stride, info.stride, info.preprocessing)
    items = []
    for seed, photo in enumerate(photos):
        boxes = material.boxes(seed, BOXES_PER_PHOTO)
        sizes = [geometry.local_size(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
        items.append((photo, boxes, [(height, width) for width, height in sizes]))
    shapes = Counter(shape for _, _, shapes in items for shape in shapes)

    def encoder() -> float:
        return reference.encoder(backend, shapes, batch_pixels, seconds)

    num_photos = max(1, round(encoder() * seconds / BOXES_PER_PHOTO))

    def served() -> float:
        vocabulary = client.create_vocabulary(CLASSES)
        photos = (BoxedImage(str(number), *items[number % len(items)][:2]) for number in range(num_photos))
        start = time.perf_counter()
        results = client.score_crops(vocabulary, photos, preprocessing=Preprocessing("bucketed", size))
        return sum(len(result.scores) for result in results) / (time.perf_counter() - start)

    return {
        "crops: encoder alone (R)": encoder,
        "crops: one at a time": lambda: reference.crops_one_at_a_time(backend, items, seconds),
        CROPS_SERVED: served,
    }


def _medians(measurements: Measurements) -> dict[str, float]:
    rounds = [{name: measure() for name, measure in measurements.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(rates[name] for rates in rounds) for name in measurements}


def _photos_per_second(images: float, crops: float) -> float:
    """Of labelling photos, each by its global view and its crops, from the rates of both."""
    return 1 / (1 / images + BOXES_PER_PHOTO / crops)


if __name__ == "__main__":
    cyclopts.run(main)
