"""The pipeline behind its cache: what was embedded before, in the same way, is neither decoded nor embedded again."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from hashlib import sha256

import PIL

from labeler_service.backends import ModelInfo
from labeler_service.batching import Embedding
from labeler_service.cache import ResultCache
from labeler_service.call_context import current_call
from labeler_service.errors import ItemError
from labeler_service.images import Box
from labeler_service.pipeline import EncodedImage, Pipeline, Preprocessing, Timings

# To be raised when the same bytes and settings give another view than before: it leaves no old embedding in use.
VIEWS_VERSION = 1


class CachedPipeline:
    """As Pipeline. Failures are not kept, and a hit adds nothing to the timings.

    Callers share nothing: whether an answer was known already would tell one caller what another has.
    """

    def __init__(self, pipeline: Pipeline, cache: ResultCache, model: ModelInfo) -> None:
        self._pipeline = pipeline
        self._cache = cache
        # All that decides an embedding beside the image and the caller's preprocessing. Which of several equal devices
        # it was does not.
        model = replace(model, device=model.device.partition(":")[0])
        self._setting = sha256(repr((VIEWS_VERSION, PIL.__version__, model)).encode()).hexdigest()

    async def embed_image(self, image: EncodedImage, preprocessing: Preprocessing, timings: Timings) -> Embedding:
        async def embed(missing: list[int]) -> list[Embedding | ItemError]:
            return [await self._pipeline.embed_image(image, preprocessing, timings)]

        [embedding] = await self._through_cache([self._key(preprocessing, image, "image")], embed)
        assert not isinstance(embedding, ItemError), "the pipeline raises it"
        return embedding

    async def embed_boxes(
        self, image: EncodedImage, boxes: Sequence[Box], preprocessing: Preprocessing, timings: Timings
    ) -> list[Embedding | ItemError]:
        async def embed(missing: list[int]) -> list[Embedding | ItemError]:
            return await self._pipeline.embed_boxes(image, [boxes[n] for n in missing], preprocessing, timings)

        image_key = self._key(preprocessing, image, "box")
        return await self._through_cache([sha256(image_key + repr(box).encode()).digest() for box in boxes], embed)

    async def embed_crops(
        self, crops: Sequence[EncodedImage], preprocessing: Preprocessing, timings: Timings
    ) -> list[Embedding | ItemError]:
        async def embed(missing: list[int]) -> list[Embedding | ItemError]:
            return await self._pipeline.embed_crops([crops[n] for n in missing], preprocessing, timings)

        return await self._through_cache([self._key(preprocessing, crop, "crop") for crop in crops], embed)

    async def _through_cache(
        self, keys: list[bytes], embed: Callable[[list[int]], Awaitable[list[Embedding | ItemError]]]
    ) -> list[Embedding | ItemError]:
        """One outcome per key; `embed` gets the places of those that are not known."""
        known = await self._cache.get(keys)
        missing = [n for n, row in enumerate(known) if row is None]
        embedded = dict(zip(missing, await embed(missing), strict=True)) if missing else {}
        self._cache.put({keys[n]: row for n, row in embedded.items() if not isinstance(row, ItemError)})
        return [embedded[n] if row is None else row for n, row in enumerate(known)]

    def _key(self, preprocessing: Preprocessing, image: EncodedImage, kind: str) -> bytes:
        how = repr((self._setting, current_call.get().caller, preprocessing, kind))
        return sha256(how.encode() + image.sha256).digest()
