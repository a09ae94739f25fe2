"""From encoded bytes to embeddings: decode in worker processes, batch, embed. Knows no classes and no protobuf."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

from labeler_service import metrics
from labeler_service.admission import PixelBudget
from labeler_service.backends import Normalization
from labeler_service.batching import Batcher, Embedding
from labeler_service.decode_pool import DecodePool
from labeler_service.decode_worker import DecodeTask
from labeler_service.errors import ItemError
from labeler_service.images import Box, Pixels, ViewGeometry


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


@dataclass(frozen=True)
class EncodedImage:
    """An image file's bytes, read out of their message and hashed once: both take as long as decoding a small one."""

    content: bytes

    @cached_property
    def sha256(self) -> bytes:
        return sha256(self.content).digest()


class Pipeline:
    """Embeds images and crops; each method adds to `timings` what it took.

    Raises ItemError when the image as a whole cannot be used, DeviceLostError when the device is gone.
    """

    def __init__(self, batcher: Batcher, decoders: DecodePool, budget: PixelBudget) -> None:
        self._batcher = batcher
        self._decoders = decoders
        self._budget = budget
        self.last_decoded = time.monotonic()

    async def embed_image(self, image: EncodedImage, preprocessing: Preprocessing, timings: Timings) -> Embedding:
        """The global view of an image."""
        async with self._hold(1, preprocessing):
            task = DecodeTask(preprocessing.geometry)
            [outcome] = await self._embed(image, task, preprocessing, timings)
        if isinstance(outcome, ItemError):
            raise outcome
        return outcome

    async def embed_boxes(
        self, image: EncodedImage, boxes: Sequence[Box], preprocessing: Preprocessing, timings: Timings
    ) -> list[Embedding | ItemError]:
        """Local views of an image, which is decoded once."""
        async with self._hold(len(boxes), preprocessing):
            task = DecodeTask(preprocessing.geometry, boxes=tuple(boxes))
            return await self._embed(image, task, preprocessing, timings)

    async def embed_crops(
        self, crops: Sequence[EncodedImage], preprocessing: Preprocessing, timings: Timings
    ) -> list[Embedding | ItemError]:
        """Local views that the caller cut out itself."""

        async def embed(crop: EncodedImage) -> Embedding | ItemError:
            task = DecodeTask(preprocessing.geometry, is_crop=True)
            try:
                [outcome] = await self._embed(crop, task, preprocessing, timings)
            except ItemError as error:
                return error
            return outcome

        async with self._hold(len(crops), preprocessing):
            return await asyncio.gather(*map(embed, crops))

    def _hold(self, num_views: int, preprocessing: Preprocessing) -> AbstractAsyncContextManager[None]:
        width, height = preprocessing.geometry.global_size()
        return self._budget.hold(num_views * width * height)

    async def _embed(
        self, image: EncodedImage, task: DecodeTask, preprocessing: Preprocessing, timings: Timings
    ) -> list[Embedding | ItemError]:
        views, seconds = await self._decoders.decode(task, image.content)
        self.last_decoded = time.monotonic()
        metrics.DECODE_SECONDS.observe(seconds)
        timings.decode += seconds
        if len(views) == 1:
            return [await self._embed_view(views[0], preprocessing, timings)]
        return await asyncio.gather(*(self._embed_view(view, preprocessing, timings) for view in views))

    async def _embed_view(
        self, view: Pixels | ItemError, preprocessing: Preprocessing, timings: Timings
    ) -> Embedding | ItemError:
        if isinstance(view, ItemError):
            return view
        encoded = await self._batcher.encode(view, preprocessing.normalization)
        timings.queue += encoded.queue_seconds
        timings.device += encoded.device_seconds
        return encoded.outcome
