"""The synchronous client."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
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
from clip_labeler.streams import Stream
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


class LabelerClient(BaseClient[grpc.Channel, threading.Semaphore]):
    """Talks to a labeler at `target`: "HOST:PORT", or several replicas as clip_labeler.targets lists.

    Failures that pass are retried, with exponential backoff, until `max_wait` seconds have gone by without progress
    (at most 60 s before the first answer ever); then UnavailableError says so. `timeout` is the seconds that the
    labeler may take for one unary call, and between two responses of a stream. `on_timings` is called with the
    timings of each response, in the thread that made the call.

    Without `credentials` the connection is plain text. A token travels over TLS or within this machine alone;
    credentials that do not fit the labeler's end the first call with AccessDeniedError.

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
        in_flight: deque[tuple[Call[list[ImageEmbedding]], grpc.Future[Any]]] = deque()
        try:
            for batch in calls.batches(images, server_info.limits):
                call = calls.embed_images(batch, preprocessing, server_info)
                in_flight.append((call, self._start(call)))
                if len(in_flight) >= min(MAX_EMBED_REQUESTS, server_info.limits.max_requests_in_flight):
                    yield from self._call(*in_flight.popleft())
            while in_flight:
                yield from self._call(*in_flight.popleft())
        finally:
            for _, started in in_flight:
                started.cancel()

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
        for channel in self._pop_channels():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open_channel(self) -> grpc.Channel:
        name, options = self._parsed_target.grpc_name(), self._channel_options()
        if self.credentials.uses_tls:
            return grpc.secure_channel(name, self.credentials.for_channel(), options)
        return grpc.insecure_channel(name, options)

    def _new_gate(self) -> threading.Semaphore:
        return threading.Semaphore(MAX_REQUESTS_IN_FLIGHT)

    def _call(
        self, call: Call[ValueT], started: "grpc.Future[Any] | None" = None, *, max_wait: float | None = None
    ) -> ValueT:
        """The call's value; `started` is its first try if that is on its way."""
        retry = self._new_retry(max_wait)
        while True:
            try:
                with rpc_errors_mapped(self.target):
                    response = self._ask(call) if started is None else self._finish(started)
                self._contacted = True
                value = call.parse(response)
                self._budget.earn()
                return value
            except LabelerError as error:
                started = None
                time.sleep(retry.pause(self._explain(error)))
                self._restore(call.vocabulary, error, retry)

    def _ask(self, call: Call[Any]) -> Any:
        """One try. Faster than `_start` by the half of a millisecond that gRPC takes to change threads."""
        connection = self._connection
        with connection.gate:
            began = time.perf_counter()
            response = self._method(call.rpc)(call.payload(), timeout=self.timeout, metadata=self._metadata())
            self._report(response, time.perf_counter() - began)
        return response

    def _start(self, call: Call[Any]) -> "grpc.Future[Any]":
        """One try, on its way."""
        gate = self._connection.gate
        gate.acquire()
        method = self._method(call.rpc)
        started: grpc.Future[Any] = method.future(call.payload(), timeout=self.timeout, metadata=self._metadata())
        started.add_done_callback(lambda _: gate.release())
        return started

    def _finish(self, started: "grpc.Future[Any]") -> Any:
        response = started.result()
        self._report(response)
        return response

    def _restore(self, vocabulary: Vocabulary | None, error: LabelerError, retry: Retry) -> None:
        """Gives a replica that does not know the vocabulary what it lacks.

        Of several replicas each call reaches the next one: with one call more after each failure, all are reached.
        """
        if vocabulary is not None and isinstance(error, UnknownVocabularyError):
            for _ in range(retry.num_failures):
                self._call(calls.create_vocabulary_again(vocabulary))

    def _stream(self, scoring: Scoring[ItemT, ResultT], items: Iterable[ItemT]) -> Iterator[ResultT]:
        source = iter(items)
        session = StreamSession(scoring, self.server_info())
        retry = self._new_retry()
        stream = Stream(self._stream_method(scoring.rpc))
        try:
            while True:
                if results := session.take_results():
                    retry.progress()
                    yield from results
                if session.finished:
                    stream.finish()
                    return
                if stream.is_old:
                    session.rest()
                if session.rested:
                    stream.finish()
                    session.restart(self.server_info())
                    stream = Stream(self._stream_method(scoring.rpc))
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
                    self._report(response)
                except LabelerError as error:
                    stream.close()
                    time.sleep(retry.pause(error))
                    self._restore(scoring.vocabulary, error, retry)
                    session.restart(self.server_info())
                    stream = Stream(self._stream_method(scoring.rpc))
        finally:
            stream.close()
