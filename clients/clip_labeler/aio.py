"""The asyncio client: the same methods as the synchronous one, awaited."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
import numpy.typing as npt

from clip_labeler import calls
from clip_labeler.base import CHANNEL_OPTIONS, BaseClient
from clip_labeler.calls import Call, ValueT
from clip_labeler.errors import LabelerError, UnavailableError, UnknownVocabularyError, rpc_errors_mapped
from clip_labeler.scoring import CropScoring, ImageScoring, ItemT, ResultT, Scoring
from clip_labeler.session import MAX_ITEMS_PER_MESSAGE, StreamSession
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
    Output,
    Preprocessing,
    ServerInfo,
    Vocabulary,
)


class AsyncLabelerClient(BaseClient[grpc.aio.Channel]):
    """As LabelerClient, for one event loop: methods are awaited, streams are asynchronous iterators."""

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
        source = _iterate(images)
        step = min(MAX_ITEMS_PER_MESSAGE, server_info.limits.max_items_per_request)
        while batch := await _take(source, step):
            for embedding in await self._call(calls.embed_images(batch, preprocessing, server_info)):
                yield embedding

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
        if (channel := self._pop_channel()) is not None:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _open_channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.target, CHANNEL_OPTIONS)

    async def _call(self, call: Call[ValueT], *, max_wait: float | None = None) -> ValueT:
        retry = self._new_retry(max_wait)
        while True:
            try:
                request = iter(call.request) if isinstance(call.request, list) else call.request
                with rpc_errors_mapped(self.target):
                    response = await self._method(call.rpc)(request, timeout=self.timeout)
                self._contacted = True
                return call.parse(response)
            except LabelerError as error:
                await asyncio.sleep(retry.pause(error))
                await self._restore(call.vocabulary, error)

    async def _restore(self, vocabulary: Vocabulary | None, error: LabelerError) -> None:
        if vocabulary is not None and isinstance(error, UnknownVocabularyError):
            await self._call(calls.create_vocabulary_again(vocabulary))

    async def _stream(
        self, scoring: Scoring[ItemT, ResultT], items: Iterable[ItemT] | AsyncIterable[ItemT]
    ) -> AsyncIterator[ResultT]:
        source = _iterate(items)
        session = StreamSession(scoring, await self.server_info())
        retry = self._new_retry()
        stream = _Stream(self._method(scoring.rpc))
        try:
            while True:
                if results := session.take_results():
                    retry.progress()
                    for result in results:
                        yield result
                if session.finished:
                    return
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
                except LabelerError as error:
                    await stream.close()
                    await asyncio.sleep(retry.pause(error))
                    await self._restore(scoring.vocabulary, error)
                    session.restart(await self.server_info())
                    stream = _Stream(self._method(scoring.rpc))
        finally:
            await stream.close()


class _Stream:
    """One score stream. Tasks carry requests out and responses in, so that neither side waits for the other.

    What the two queues hold is bounded by the session's window.
    """

    def __init__(self, method: Any) -> None:
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._responses: asyncio.Queue[Any] = asyncio.Queue()
        self._call = method(self._outgoing())
        self._reader = asyncio.create_task(self._read())

    def send(self, request: Any) -> None:
        self._requests.put_nowait(request)

    async def receive(self, timeout: float) -> Any | None:
        """The next response, None if there is none after `timeout` seconds; raises what ended the stream."""
        try:
            async with asyncio.timeout(timeout):
                response = await self._responses.get()
        except TimeoutError:
            return None
        if isinstance(response, Exception):
            raise response
        return response

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.wait([self._reader])

    async def _outgoing(self) -> AsyncIterator[Any]:
        while True:
            yield await self._requests.get()

    async def _read(self) -> None:
        try:
            async for response in self._call:
                self._responses.put_nowait(response)
            self._responses.put_nowait(UnavailableError("the labeler ended the stream early"))
        except grpc.RpcError as error:
            self._responses.put_nowait(error)


async def _iterate(items: Iterable[ItemT] | AsyncIterable[ItemT]) -> AsyncIterator[ItemT]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _take(source: AsyncIterator[ItemT], number: int) -> list[ItemT]:
    """The next items, fewer at the end."""
    taken: list[ItemT] = []
    async for item in source:
        taken.append(item)
        if len(taken) == number:
            break
    return taken
