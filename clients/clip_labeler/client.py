"""The synchronous client."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
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


class LabelerClient(BaseClient[grpc.Channel]):
    """Talks to a labeler at `target` ("HOST:PORT").

    Failures that pass are retried, with exponential backoff, until `max_wait` seconds have gone by without progress
    (at most 60 s before the first answer ever); then UnavailableError says so. `timeout` is the seconds that the
    labeler may take for one unary call, and between two responses of a stream.

    The channel opens with the first call, one for each process: a client may be made, and used, before a fork and
    used after it (but do not fork while it iterates over a stream: gRPC's threads may then hold locks), or be
    pickled. One client may be used by several threads. Errors are the ones of `clip_labeler.errors`; a wrong argument
    raises ValueError.
    """

    def server_info(self) -> ServerInfo:
        """The labeler's model, precision and limits."""
        return self._call(calls.server_info())

    def wait_until_ready(self, timeout: float) -> None:
        """Returns when the labeler's health check says SERVING; raises UnavailableError after `timeout` seconds."""
        self._call(calls.health(), max_wait=timeout)

    def create_vocabulary(
        self, class_names: Sequence[str], prompt_templates: Sequence[str] = (), temperature: float | None = None
    ) -> Vocabulary:
        """Encodes class names, once however often it is called.

        Templates have one "{}" each and default to "a photo of the {}" (paper section 4.1); `temperature` is
        positive and defaults to the model's own.
        """
        return self._call(calls.create_vocabulary(class_names, prompt_templates, temperature))

    def score_images(
        self,
        vocabulary: Vocabulary,
        images: Iterable[Image | EmbeddedImage],
        *,
        preprocessing: Preprocessing,
        output: Output = "probabilities",
        calibration: Calibration | None = None,
    ) -> Iterator[ImageScores]:
        """Scores whole images (the global view), one result for each, in the order in which they finish.

        `images` may be endless: it is pulled, in the caller's thread, only as far ahead as the labeler's limits
        allow. Scores are probabilities in [0, 1] that sum to 1, with a calibration debiased labels; or raw cosines
        in [-1, 1]. A stream that breaks goes on with what is unanswered: no result comes twice and none is lost.
        """
        return self._stream(ImageScoring(vocabulary, preprocessing, output, calibration), images)

    def score_crops(
        self,
        vocabulary: Vocabulary,
        items: Iterable[BoxedImage | EncodedCrops],
        *,
        preprocessing: Preprocessing,
        output: Output = "probabilities",
        calibration: Calibration | None = None,
    ) -> Iterator[CropScores]:
        """Scores local views: of each item all its crops together. Otherwise as `score_images`."""
        return self._stream(CropScoring(vocabulary, preprocessing, output, calibration), items)

    def score_image_batch(
        self,
        vocabulary: Vocabulary,
        images: Iterable[Image | EmbeddedImage],
        *,
        preprocessing: Preprocessing,
        output: Output = "probabilities",
        calibration: Calibration | None = None,
    ) -> list[ImageScores]:
        """Scores a few images in one request, at most Limits.max_items_per_request; results are in their order."""
        scoring = ImageScoring(vocabulary, preprocessing, output, calibration)
        return self._call(calls.score_images(scoring, images))

    def embed_images(self, images: Iterable[Image], *, preprocessing: Preprocessing) -> Iterator[ImageEmbedding]:
        """Embeddings in the order of the images, to be scored with any vocabulary later as EmbeddedImage."""
        server_info = self.server_info()
        source = iter(images)
        step = min(MAX_ITEMS_PER_MESSAGE, server_info.limits.max_items_per_request)
        while batch := list(islice(source, step)):
            yield from self._call(calls.embed_images(batch, preprocessing, server_info))

    def estimate_bias(
        self,
        rows: npt.NDArray[np.floating] | Iterable[npt.NDArray[np.floating]],
        *,
        gate: EntropyGate,
        statistics: Iterable[BiasEstimate] = (),
    ) -> BiasEstimate:
        """Class bias of CLIP (paper section 3.3) from probability rows (N, C), in one array or in several.

        `statistics` are estimates from other rows at the same gate; all are merged, exactly.
        """
        estimates = list(statistics)
        for chunk in calls.row_chunks(rows):
            estimates = [self._call(calls.estimate_bias(chunk, gate, estimates))]
        return estimates[0] if len(estimates) == 1 else self._call(calls.estimate_bias(None, gate, estimates))

    def apply_bias(self, probabilities: npt.NDArray[np.floating], calibration: Calibration) -> FloatArray:
        """Debiased labels (N, C) float32 of probabilities (N, C) in [0, 1]."""
        return np.concatenate(
            [self._call(calls.apply_bias(chunk, calibration)) for chunk in calls.row_chunks(probabilities)]
        )

    def close(self) -> None:
        """Closes the connection of this process; a later call opens another."""
        if (channel := self._pop_channel()) is not None:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open_channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.target, CHANNEL_OPTIONS)

    def _call(self, call: Call[ValueT], *, max_wait: float | None = None) -> ValueT:
        retry = self._new_retry(max_wait)
        while True:
            try:
                request = iter(call.request) if isinstance(call.request, list) else call.request
                with rpc_errors_mapped(self.target):
                    response = self._method(call.rpc)(request, timeout=self.timeout)
                self._contacted = True
                return call.parse(response)
            except LabelerError as error:
                time.sleep(retry.pause(error))
                self._restore(call.vocabulary, error)

    def _restore(self, vocabulary: Vocabulary | None, error: LabelerError) -> None:
        """Gives a replica that does not know the vocabulary what it lacks."""
        if vocabulary is not None and isinstance(error, UnknownVocabularyError):
            self._call(calls.create_vocabulary_again(vocabulary))

    def _stream(self, scoring: Scoring[ItemT, ResultT], items: Iterable[ItemT]) -> Iterator[ResultT]:
        source = iter(items)
        session = StreamSession(scoring, self.server_info())
        retry = self._new_retry()
        stream = _Stream(self._method(scoring.rpc))
        try:
            while True:
                if results := session.take_results():
                    retry.progress()
                    yield from results
                if session.finished:
                    return
                while session.wants_item:
                    try:
                        session.add(next(source))
                    except StopIteration:
                        session.end_input()
                for request in session.requests():
                    stream.send(request)
                try:
                    with rpc_errors_mapped(self.target):
                        response = stream.receive(self.timeout if session.must_wait else 0)
                    session.receive(response)
                except LabelerError as error:
                    stream.close()
                    time.sleep(retry.pause(error))
                    self._restore(scoring.vocabulary, error)
                    session.restart(self.server_info())
                    stream = _Stream(self._method(scoring.rpc))
        finally:
            stream.close()


class _Stream:
    """One score stream. Threads carry requests out and responses in, so that neither side waits for the other.

    What the two queues hold is bounded by the session's window.
    """

    def __init__(self, method: Any) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._responses: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._call = method(iter(self._requests.get, None))
        threading.Thread(target=self._read, name="clip_labeler responses", daemon=True).start()

    def send(self, request: Any) -> None:
        self._requests.put(request)

    def receive(self, timeout: float) -> Any | None:
        """The next response, None if there is none after `timeout` seconds; raises what ended the stream."""
        try:
            response = self._responses.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(response, Exception):
            raise response
        return response

    def close(self) -> None:
        self._call.cancel()
        self._requests.put(None)  # releases gRPC's thread that waits for a request

    def _read(self) -> None:
        try:
            for response in self._call:
                self._responses.put(response)
            self._responses.put(UnavailableError("the labeler ended the stream early"))
        except grpc.RpcError as error:
            self._responses.put(error)
