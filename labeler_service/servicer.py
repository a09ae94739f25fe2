"""The RPCs: protobuf in, domain calls, protobuf out. No mathematics, no torch."""
# ruff: noqa: N802 - methods have the names of the RPCs

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import grpc

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1 import labeler_pb2_grpc
from labeler_service import messages
from labeler_service.batching import Embedding
from labeler_service.calibration import BiasStatistics
from labeler_service.call_context import current_call
from labeler_service.config import ServerConfig
from labeler_service.drain import Drain, ShuttingDownError
from labeler_service.engine import Engine
from labeler_service.errors import ItemError, RequestError
from labeler_service.images import Box
from labeler_service.messages import invalid
from labeler_service.pipeline import EncodedImage, Preprocessing, Timings
from labeler_service.scoring import Scoring
from labeler_service.streams import StoppedError, map_bounded

R = TypeVar("R")

# Of thousands of classes and ids as long as paths these stay far below the 4 MiB that gRPC takes by default.
RESULTS_PER_RESPONSE = 16


@dataclass(frozen=True)
class _Options:
    preprocessing: Preprocessing
    scoring: Scoring


class LabelerServicer(labeler_pb2_grpc.LabelerServiceServicer):
    """Implements clip_labeler.v1.LabelerService; labeler.proto says what each RPC promises.

    Errors leave as LabelerError; the interceptor gives them their status.
    """

    def __init__(self, config: ServerConfig, engine: Engine, drain: Drain) -> None:
        self._config = config
        self._model = engine.model
        self._pipeline = engine.cached
        self._vocabularies = engine.vocabularies
        self._admission = engine.admission
        self._drain = drain

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Any) -> pb.GetServerInfoResponse:
        model = self._model
        return pb.GetServerInfoResponse(
            version=_version(),
            model_name=self._config.model_name,
            weights_sha256=model.weights_sha256,
            dtype=model.dtype,
            device=model.device,
            backend=model.backend,
            embedding_size=model.embedding_size,
            native_resolution=model.native_resolution,
            temperature=model.temperature,
            reproducible=self._config.reproducible,
            limits=messages.to_limits(self._config),
        )

    async def CreateVocabulary(self, request: pb.CreateVocabularyRequest, context: Any) -> pb.CreateVocabularyResponse:
        spec = messages.parse_vocabulary(request)
        spec.check(max_classes=self._config.max_classes, max_text_bytes=self._config.max_text_bytes)
        vocabulary = await self._vocabularies.create(spec)
        return pb.CreateVocabularyResponse(
            vocabulary_id=vocabulary.id,
            num_classes=len(vocabulary.embeddings),
            temperature=vocabulary.temperature,
            weights_sha256=self._model.weights_sha256,
        )

    async def ScoreImages(self, request: pb.ScoreImagesRequest, context: Any) -> pb.ScoreImagesResponse:
        with self._admission.enter():
            options = self._parse_options(request)
            self._check_count(request.images, minimum=1)
            current_call.get().quota.charge(len(request.images))
            results = await asyncio.gather(*(self._score_image(image, options) for image in request.images))
            return pb.ScoreImagesResponse(**self._response(results))

    async def EmbedImages(self, request: pb.EmbedImagesRequest, context: Any) -> pb.EmbedImagesResponse:
        with self._admission.enter():
            preprocessing = self._parse_preprocessing(request.preprocessing)
            self._check_count(request.images, minimum=1)
            if any(image.HasField("embedding") for image in request.images):
                raise invalid("images", "each needs content, not an embedding")
            current_call.get().quota.charge(len(request.images))
            results = await asyncio.gather(*(self._embed_image(image, preprocessing) for image in request.images))
            return pb.EmbedImagesResponse(**self._response(results))

    async def ScoreImageStream(
        self, request_iterator: AsyncIterator[pb.ScoreImageStreamRequest], context: Any
    ) -> AsyncIterator[pb.ScoreImageStreamResponse]:
        requests = aiter(request_iterator)
        first = await anext(requests, pb.ScoreImageStreamRequest())
        options = self._parse_options(first)
        images = self._items(first, requests, lambda request: request.images)
        async with aclosing(self._map(images, lambda image: self._score_image(image, options))) as bunches:
            async for results in bunches:
                for start in range(0, len(results), RESULTS_PER_RESPONSE):
                    few = results[start : start + RESULTS_PER_RESPONSE]
                    yield pb.ScoreImageStreamResponse(**self._response(few))

    async def ScoreCrops(
        self, request_iterator: AsyncIterator[pb.ScoreCropsRequest], context: Any
    ) -> AsyncIterator[pb.ScoreCropsResponse]:
        requests = aiter(request_iterator)
        first = await anext(requests, pb.ScoreCropsRequest())
        options = self._parse_options(first)
        items = self._items(first, requests, lambda request: request.items)
        async with aclosing(self._map(items, lambda item: self._score_crops(item, options))) as bunches:
            async for results in bunches:
                for result in results:  # One by one: the rows of many crops and classes are large.
                    yield pb.ScoreCropsResponse(**self._response([result]))

    async def EstimateBias(
        self, request_iterator: AsyncIterator[pb.EstimateBiasRequest], context: Any
    ) -> pb.EstimateBiasResponse:
        gate = None
        total: BiasStatistics | None = None
        async for request in request_iterator:
            if gate is None:
                gate = messages.parse_gate(request.gate)
            elif request.HasField("gate"):
                raise invalid("gate", "is allowed in the first message only")
            for statistics in await asyncio.to_thread(messages.parse_statistics, request, gate):
                if total is not None and len(statistics.sums) != len(total.sums):
                    raise invalid("probabilities", f"{len(statistics.sums)} columns after {len(total.sums)}")
                total = statistics if total is None else total + statistics
        if total is None or total.num_rows == 0:
            raise invalid("probabilities", "there is no row")
        return pb.EstimateBiasResponse(bias=messages.to_matrix(total.bias()), statistics=messages.to_statistics(total))

    async def ApplyBias(self, request: pb.ApplyBiasRequest, context: Any) -> pb.ApplyBiasResponse:
        probs_NC = messages.parse_probabilities(request.probabilities)
        calibration = messages.parse_calibration(request.calibration, probs_NC.shape[1])
        labels_NC = await asyncio.to_thread(calibration.apply, probs_NC)
        return pb.ApplyBiasResponse(labels=messages.to_matrix(labels_NC))

    # One item.

    async def _image_result(
        self, image: pb.Image, preprocessing: Preprocessing, to_row: Callable[[Embedding], Embedding]
    ) -> tuple[pb.ImageResult, Timings]:
        timings = Timings()
        encoded = EncodedImage(image.embedding.data if image.HasField("embedding") else image.content)
        outcome: Embedding | ItemError
        try:
            if image.HasField("embedding"):
                outcome = to_row(messages.parse_embedding(image.embedding, self._model.embedding_size))
            else:
                outcome = to_row(await self._pipeline.embed_image(encoded, preprocessing, timings))
        except ItemError as error:
            outcome = error
        return messages.to_image_result(image.id, encoded.sha256, outcome), timings

    async def _score_image(self, image: pb.Image, options: _Options) -> tuple[pb.ImageResult, Timings]:
        return await self._image_result(image, options.preprocessing, options.scoring.score)

    async def _embed_image(self, image: pb.Image, preprocessing: Preprocessing) -> tuple[pb.ImageResult, Timings]:
        return await self._image_result(image, preprocessing, lambda embedding: embedding)

    async def _score_crops(self, item: pb.CropItem, options: _Options) -> tuple[pb.CropItemResult, Timings]:
        timings = Timings()
        image = EncodedImage(item.boxed_image.content)
        crops = [EncodedImage(content) for content in item.encoded_crops.contents]
        digest = sha256(b"".join(crop.sha256 for crop in crops)).digest() if crops else image.sha256
        try:
            embeddings = await self._embed_crops(item, image, crops, options.preprocessing, timings)
        except ItemError as error:
            return messages.to_crop_item_result(item.id, digest, error), timings
        rows = [e if isinstance(e, ItemError) else options.scoring.score(e) for e in embeddings]
        return messages.to_crop_item_result(item.id, digest, rows), timings

    async def _embed_crops(
        self,
        item: pb.CropItem,
        image: EncodedImage,
        crops: list[EncodedImage],
        preprocessing: Preprocessing,
        timings: Timings,
    ) -> list[Embedding | ItemError]:
        boxes = [Box(box.x0, box.y0, box.x1, box.y1) for box in item.boxed_image.boxes]
        count, limit = len(crops) or len(boxes), self._config.max_crops_per_item
        if not 1 <= count <= limit:
            raise ItemError("CROP_COUNT", f"item has {count} boxes or crops; between 1 and {limit} are allowed")
        if crops:
            return await self._pipeline.embed_crops(crops, preprocessing, timings)
        return await self._pipeline.embed_boxes(image, boxes, preprocessing, timings)

    # What requests have in common.

    def _parse_options(self, request: Any) -> _Options:
        if not request.HasField("options"):
            raise invalid("options", "are required")
        options = request.options
        output = messages.parse_output(options)
        preprocessing = self._parse_preprocessing(options.preprocessing)
        vocabulary = self._vocabularies.get(options.vocabulary_id)
        calibration = None
        if options.HasField("calibration"):
            calibration = messages.parse_calibration(options.calibration, len(vocabulary.embeddings))
        return _Options(preprocessing, Scoring(vocabulary, output, calibration))

    def _parse_preprocessing(self, message: pb.Preprocessing) -> Preprocessing:
        return messages.parse_preprocessing(message, self._model, self._config.max_view_size)

    def _check_count(self, items: Sequence[Any], *, minimum: int) -> None:
        if len(items) < minimum:
            raise invalid("images", "at least one is required")
        if len(items) > self._config.max_items_per_request:
            raise RequestError(
                "TOO_MANY_ITEMS",
                f"{len(items)} items; the limit is {self._config.max_items_per_request} a message",
                code=grpc.StatusCode.RESOURCE_EXHAUSTED,
            )

    async def _items(
        self, first: Any, rest: AsyncIterator[Any], items_of: Callable[[Any], Sequence[Any]]
    ) -> AsyncIterator[Any]:
        """The items of all messages of a stream."""
        quota = current_call.get().quota
        self._check_count(items_of(first), minimum=0)
        await quota.wait(len(items_of(first)))
        for item in items_of(first):
            yield item
        async for request in rest:
            if request.HasField("options"):
                raise invalid("options", "are allowed in the first message only")
            self._check_count(items_of(request), minimum=0)
            await quota.wait(len(items_of(request)))
            for item in items_of(request):
                yield item

    async def _map(
        self, items: AsyncIterator[Any], work: Callable[[Any], Coroutine[Any, Any, tuple[R, Timings]]]
    ) -> AsyncGenerator[list[tuple[R, Timings]], None]:
        limit, stop = self._config.max_items_in_flight_per_stream, self._drain.started
        try:
            async with aclosing(map_bounded(items, work, max_in_flight=limit, stop=stop)) as bunches:
                async for results in bunches:
                    yield results
        except StoppedError:  # The caller sends the rest elsewhere.
            raise ShuttingDownError from None

    def _response(self, results: Sequence[tuple[Any, Timings]]) -> dict[str, Any]:
        """The fields that all responses have."""
        return {
            "results": [result for result, _ in results],
            "timings": messages.to_timings([timings for _, timings in results]),
            "weights_sha256": self._model.weights_sha256,
        }


def _version() -> str:
    try:
        return version("ccd")
    except PackageNotFoundError:
        return "source"  # Run from a checkout that was not installed.
