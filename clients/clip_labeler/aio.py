"""The asyncio client: the same methods as the synchronous one, awaited."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
import numpy.typing as npt

from clip_labeler import calls
from clip_labeler.base import (
    MAX_EMBED_REQUESTS,
    MAX_REQUESTS_IN_FLIGHT,
    BaseClient,
)
from clip_labeler.calls import Call, ValueT
from clip_labeler.errors import LabelerError, UnknownVocabularyError, rpc_errors_mapped
from clip_labeler.retry import Retry
from clip_labeler.scoring import CropScoring, ImageScoring, ItemT, ResultT, Scoring
from clip_labeler.session import StreamSession
from clip_labeler.streams import AsyncStream
from clip_labeler.values import (
    BiasEstimate,
    BoxedImage,
    Calibration,
    CropScores,
    EmbeddedImage,
    EncodedCrops,
    EntropyGate,
    FloatArray,
    Image,
    ImageEmbedding,
    ImageScores,
    Limits,
    Output,
    Preprocessing,
    ServerInfo,
    Vocabulary,
)


class AsyncLabelerClient(BaseClient[grpc.aio.Channel, asyncio.Semaphore]):
    """As LabelerClient, for one event loop: methods are awaited, streams are asynchronous iterators.

    The names of a list of replicas are looked up on the loop, once.
    """

    async def server_info(self) -> ServerInfo:
        """See LabelerClient."""
        return await self._call(calls.server_info())

    async def wait_until_ready(self, timeout: float) -> None:
        """See LabelerClient."""
        await self._call(calls.health(), max_wait=timeout)

    async def create_vocabulary(
        self, class_names: Sequence[str], prompt_templates: Sequence[str] = (), temperature: float | None = None
    ) -> Vocabulary:
        """See LabelerClient."""
        return await self._call(calls.create_vocabulary(class_names, prompt_templates, temperature))

    def score_images(
        self,
        vocabulary: Vocabulary,
        images: Iterable[Image | EmbeddedImage] | AsyncIterable[Image | EmbeddedImage],
        *,
        preprocessing: Preprocessing,
        output: Output = "probabilities",
        calibration: Calibration | None = None,
    ) -> AsyncIterator[ImageScores]:
        """See LabelerClient."""
        return self._stream(ImageScoring(vocabulary, preprocessing, output, calibration), images)

    def score_crops(
        self,
        vocabulary: Vocabulary,
        items: Iterable[BoxedImage | EncodedCrops] | AsyncIterable[BoxedImage | EncodedCrops],
        *,
        preprocessing: Preprocessing,
        output: Output = "probabilities",
        calibration: Calibration | None = None,
    ) -> AsyncIterator[CropScores]:
        """See LabelerClient."""
        return self._stream(CropScoring(vocabulary, preprocessing, output, calibration), items)

    async def score_image_batch(
        self,
        vocabulary: Vocabulary,
        images: Iterable[Image | EmbeddedImage],
        *,
        preprocessing: Preprocessing,
        output: Output = "probabilities",
        calibration: Calibration | None = None,
    ) -> list[ImageScores]:
        """See LabelerClient."""
        scoring = ImageScoring(vocabulary, preprocessing, output, calibration)
        return await self._call(calls.score_images(scoring, images))

    async def embed_images(
        self, images: Iterable[Image] | AsyncIterable[Image], *, preprocessing: Preprocessing
    ) -> AsyncIterator[ImageEmbedding]:
        """See LabelerClient."""
        server_info = await self.server_info()
        in_flight: deque[tuple[Call[list[ImageEmbedding]], grpc.aio.Call]] = deque()
        try:
            async for batch in _batches(_iterate(images), server_info.limits):
                call = calls.embed_images(batch, preprocessing, server_info)
                in_flight.append((call, await self._start(call)))
                if len(in_flight) >= min(MAX_EMBED_REQUESTS, server_info.limits.max_requests_in_flight):
                    for embedding in await self._call(*in_flight.popleft()):
                        yield embedding
            while in_flight:
                for embedding in await self._call(*in_flight.popleft()):
                    yield embedding
        finally:
            for _, started in in_flight:
                started.cancel()

    async def estimate_bias(
        self,
        rows: npt.NDArray[np.floating] | Iterable[npt.NDArray[np.floating]],
        *,
        gate: EntropyGate,
        statistics: Iterable[BiasEstimate] = (),
    ) -> BiasEstimate:
        """See LabelerClient."""
        estimates = list(statistics)
        for chunk in calls.row_chunks(rows):
            estimates = [await self._call(calls.estimate_bias(chunk, gate, estimates))]
        return estimates[0] if len(estimates) == 1 else await self._call(calls.estimate_bias(None, gate, estimates))

    async def apply_bias(self, probabilities: npt.NDArray[np.floating], calibration: Calibration) -> FloatArray:
        """See LabelerClient."""
        return np.concatenate(
            [await self._call(calls.apply_bias(chunk, calibration)) for chunk in calls.row_chunks(probabilities)]
        )

    async def close(self) -> None:
        """See LabelerClient."""
        for channel in self._pop_channels():
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _open_channel(self) -> grpc.aio.Channel:
        name, options = self._parsed_target.grpc_name(), self._channel_options()
        if self.credentials.uses_tls:
            return grpc.aio.secure_channel(name, self.credentials.for_channel(), options)
        return grpc.aio.insecure_channel(name, options)

    def _new_gate(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(MAX_REQUESTS_IN_FLIGHT)

    async def _call(
        self, call: Call[ValueT], started: grpc.aio.Call | None = None, *, max_wait: float | None = None
    ) -> ValueT:
        retry = self._new_retry(max_wait)
        while True:
            try:
                with rpc_errors_mapped(self.target):
                    response = await self._ask(call) if started is None else await self._finish(started)
                self._contacted = True
                value = call.parse(response)
                self._budget.earn()
                return value
            except LabelerError as error:
                started = None
                explained = await asyncio.to_thread(self._explain, error)
                await asyncio.sleep(retry.pause(explained))
                await self._restore(call.vocabulary, error, retry)

    async def _ask(self, call: Call[Any]) -> Any:
        connection = self._connection
        async with connection.gate:
            began = time.perf_counter()
            response = await self._method(call.rpc)(call.payload(), timeout=self.timeout, metadata=self._metadata())
            self._report(response, time.perf_counter() - began)
        return response

    async def _start(self, call: Call[Any]) -> grpc.aio.Call:
        gate = self._connection.gate
        await gate.acquire()
        method = self._method(call.rpc)
        started: grpc.aio.Call = method(call.payload(), timeout=self.timeout, metadata=self._metadata())
        started.add_done_callback(lambda _: gate.release())
        return started

    async def _finish(self, started: Any) -> Any:
        response = await started
        self._report(response)
        return response

    async def _restore(self, vocabulary: Vocabulary | None, error: LabelerError, retry: Retry) -> None:
        if vocabulary is not None and isinstance(error, UnknownVocabularyError):
            for _ in range(retry.num_failures):
                await self._call(calls.create_vocabulary_again(vocabulary))

    async def _stream(
        self, scoring: Scoring[ItemT, ResultT], items: Iterable[ItemT] | AsyncIterable[ItemT]
    ) -> AsyncIterator[ResultT]:
        source = _iterate(items)
        session = StreamSession(scoring, await self.server_info())
        retry = self._new_retry()
        stream = AsyncStream(self._stream_method(scoring.rpc))
        try:
            while True:
                if results := session.take_results():
                    retry.progress()
                    for result in results:
                        yield result
                if session.finished:
                    await stream.finish()
                    return
                if stream.is_old:
                    session.rest()
                if session.rested:
                    await stream.finish()
                    session.restart(await self.server_info())
                    stream = AsyncStream(self._stream_method(scoring.rpc))
                while session.wants_item:
                    try:
                        session.add(await anext(source))
                    except StopAsyncIteration:
                        session.end_input()
                for request in session.requests():
                    stream.send(request)
                try:
                    with rpc_errors_mapped(self.target):
                        response = await stream.receive(self.timeout if session.must_wait else 0)
                    session.receive(response)
                    self._report(response)
                except LabelerError as error:
                    await stream.close()
                    await asyncio.sleep(retry.pause(error))
                    await self._restore(scoring.vocabulary, error, retry)
                    session.restart(await self.server_info())
                    stream = AsyncStream(self._stream_method(scoring.rpc))
        finally:
            await stream.close()


async def _iterate(items: Iterable[ItemT] | AsyncIterable[ItemT]) -> AsyncIterator[ItemT]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _batches(images: AsyncIterator[Image], limits: Limits) -> AsyncIterator[list[Image]]:
    """See calls.Batches."""
    cutter = calls.Batches(limits)
    async for image in images:
        if batch := cutter.add(image):
            yield batch
    if batch := cutter.rest():
        yield batch
