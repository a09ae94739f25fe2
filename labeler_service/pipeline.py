"""From encoded bytes to embeddings: decode in worker threads, batch, embed. Knows no classes and no protobuf."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec

from labeler_service import images, metrics
from labeler_service.admission import PixelBudget
from labeler_service.backends import Normalization
from labeler_service.batching import Batcher, Embedding
from labeler_service.errors import ItemError
from labeler_service.images import Box, ImageLimits, Pixels, ViewGeometry

P = ParamSpec("P")


@dataclass(frozen=True)
class Preprocessing:
    """How a caller wants pixels to become the model's input."""

    geometry: ViewGeometry
    normalization: Normalization


@dataclass
class Timings:
    """Seconds that one item took, summed over its views, and when it arrived (time.perf_counter)."""

    decode: float = 0.0
    queue: float = 0.0
    device: float = 0.0
    arrived: float = field(default_factory=time.perf_counter)


class Pipeline:
    """Embeds images and crops; each method adds to `timings` what it took.

    Raises ItemError when the image as a whole cannot be used, DeviceLostError when the device is gone.
    """

    def __init__(self, batcher: Batcher, *, limits: ImageLimits, budget: PixelBudget, num_workers: int) -> None:
        self._batcher = batcher
        self._limits = limits
        self._budget = budget
        self.last_decoded = time.monotonic()
        # Threads suffice: Pillow lets go of the interpreter's lock while it decodes and resizes.
        self._decoders = ThreadPoolExecutor(num_workers, thread_name_prefix="decode")

    def close(self) -> None:
        self._decoders.shutdown(cancel_futures=True)

    async def embed_image(self, content: bytes, preprocessing: Preprocessing, timings: Timings) -> Embedding:
        """The global view of an image."""

        def views() -> list[Pixels | ItemError]:
            return [images.global_view(images.decode(content, self._limits), preprocessing.geometry)]

        [outcome] = await self._embed(views, 1, preprocessing, timings)
        if isinstance(outcome, ItemError):
            raise outcome
        return outcome

    async def embed_boxes(
        self, content: bytes, boxes: Sequence[Box], preprocessing: Preprocessing, timings: Timings
    ) -> list[Embedding | ItemError]:
        """Local views of an image, which is decoded once."""

        def views() -> list[Pixels | ItemError]:
            image = images.decode(content, self._limits)
            return [_or_error(images.local_view, image, box, preprocessing.geometry) for box in boxes]

        return await self._embed(views, len(boxes), preprocessing, timings)

    async def embed_crops(
        self, contents: Sequence[bytes], preprocessing: Preprocessing, timings: Timings
    ) -> list[Embedding | ItemError]:
        """Local views that the caller cut out itself."""

        def view(content: bytes) -> Pixels:
            return images.crop_view(images.decode(content, self._limits), preprocessing.geometry)

        def views() -> list[Pixels | ItemError]:
            return [_or_error(view, content) for content in contents]

        return await self._embed(views, len(contents), preprocessing, timings)

    async def _embed(
        self,
        views: Callable[[], list[Pixels | ItemError]],
        num_views: int,
        preprocessing: Preprocessing,
        timings: Timings,
    ) -> list[Embedding | ItemError]:
        width, height = preprocessing.geometry.global_size()
        async with self._budget.hold(num_views * width * height):
            loop = asyncio.get_running_loop()
            decoded, seconds = await loop.run_in_executor(self._decoders, _timed, views)
            self.last_decoded = time.monotonic()
            metrics.DECODE_SECONDS.observe(seconds)
            timings.decode += seconds
            return await asyncio.gather(*(self._embed_view(view, preprocessing, timings) for view in decoded))

    async def _embed_view(
        self, view: Pixels | ItemError, preprocessing: Preprocessing, timings: Timings
    ) -> Embedding | ItemError:
        if isinstance(view, ItemError):
            return view
        encoded = await self._batcher.encode(view, preprocessing.normalization)
        timings.queue += encoded.queue_seconds
        timings.device += encoded.device_seconds
        return encoded.outcome


def _or_error(view: Callable[P, Pixels], *args: P.args, **kwargs: P.kwargs) -> Pixels | ItemError:
    try:
        return view(*args, **kwargs)
    except ItemError as error:
        return error


def _timed(views: Callable[[], list[Pixels | ItemError]]) -> tuple[list[Pixels | ItemError], float]:
    started = time.perf_counter()
    return views(), time.perf_counter() - started
