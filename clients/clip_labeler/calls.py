"""The unary calls: which method, which request, and how its reply is checked and becomes a value; no I/O."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from clip_labeler import messages
from clip_labeler.errors import ProtocolError, UnavailableError
from clip_labeler.scoring import TOLERANCE, ImageScoring, Sent, item_error
from clip_labeler.session import FRAMING_BYTES, MAX_ITEMS_PER_MESSAGE, MAX_MESSAGE_BYTES
from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.values import (
    BiasEstimate,
    Calibration,
    EmbeddedImage,
    EntropyGate,
    FloatArray,
    Image,
    ImageEmbedding,
    ImageScores,
    Limits,
    Preprocessing,
    ServerInfo,
    Vocabulary,
)

ValueT = TypeVar("ValueT")

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
# grpc.health.v1.HealthCheckResponse(status=SERVING) on the wire: field 1, varint 1. The base install has no health
# package, and this is all that it would be for.
SERVING = b"\x08\x01"

# Rows travel in messages of this size, far below every labeler's limit.
MATRIX_MESSAGE_BYTES = 2**20


@dataclass(frozen=True)
class Call(Generic[ValueT]):
    """One unary call. `request` is one message, or the list of messages of a client stream."""

    rpc: str
    request: Any
    parse: Callable[[Any], ValueT]
    vocabulary: Vocabulary | None = None  # the one that the labeler must know

    def payload(self) -> Any:
        """What gRPC's method takes, anew for each try."""
        return iter(self.request) if isinstance(self.request, list) else self.request


def health() -> Call[None]:
    def parse(reply: bytes) -> None:
        if reply != SERVING:
            raise UnavailableError("the labeler runs but does not serve yet")

    return Call(HEALTH_CHECK, b"", parse)


def server_info() -> Call[ServerInfo]:
    return Call("GetServerInfo", pb.GetServerInfoRequest(), messages.server_info_from_proto)


def create_vocabulary(
    class_names: Sequence[str], prompt_templates: Sequence[str], temperature: float | None
) -> Call[Vocabulary]:
    for what, names in (("class_names", class_names), ("prompt_templates", prompt_templates)):
        if isinstance(names, str):
            raise ValueError(f"{what} must be a sequence of strings, not the string {names!r}")

    def parse(response: pb.CreateVocabularyResponse) -> Vocabulary:
        if response.num_classes != len(class_names) or response.temperature <= 0 or not response.vocabulary_id:
            raise ProtocolError(f"the reply is no vocabulary of {len(class_names)} classes")
        return Vocabulary(
            id=response.vocabulary_id,
            class_names=tuple(class_names),
            prompt_templates=tuple(prompt_templates),
            requested_temperature=temperature,
            temperature=response.temperature,
            weights_sha256=response.weights_sha256,
        )

    request = pb.CreateVocabularyRequest(
        class_names=class_names, prompt_templates=prompt_templates, temperature=temperature or 0.0
    )
    return Call("CreateVocabulary", request, parse)


def create_vocabulary_again(vocabulary: Vocabulary) -> Call[Vocabulary]:
    """For a replica that does not know it; raises ProtocolError if it becomes another one there."""
    call = create_vocabulary(vocabulary.class_names, vocabulary.prompt_templates, vocabulary.requested_temperature)

    def parse(response: pb.CreateVocabularyResponse) -> Vocabulary:
        again = call.parse(response)
        if again != vocabulary:
            raise ProtocolError("the labeler now makes another vocabulary of the same content: its model has changed")
        return again

    return Call(call.rpc, call.request, parse)


def score_images(scoring: ImageScoring, images: Iterable[Image | EmbeddedImage]) -> Call[list[ImageScores]]:
    sent = [scoring.send(image, str(index)) for index, image in enumerate(images)]

    def parse(response: pb.ScoreImagesResponse) -> list[ImageScores]:
        scoring.check_weights(response.weights_sha256)
        return [scoring.result(item, result) for item, result in _paired(sent, response.results)]

    request = pb.ScoreImagesRequest(options=scoring.options, images=[item.message for item in sent])
    return Call("ScoreImages", request, parse, scoring.vocabulary)


class Batches:
    """Cuts a row of images into requests of the size that stream messages have; a larger image goes alone."""

    def __init__(self, limits: Limits) -> None:
        self._max_items = min(MAX_ITEMS_PER_MESSAGE, limits.max_items_per_request)
        self._max_bytes = min(MAX_MESSAGE_BYTES, limits.max_request_bytes)
        self._images: list[Image] = []
        self._num_bytes = 0

    def add(self, image: Image) -> list[Image]:
        """The batch that ends before `image`; empty while there is room for it."""
        num_bytes = len(image.content) + FRAMING_BYTES
        done: list[Image] = []
        if len(self._images) == self._max_items or self._num_bytes + num_bytes > self._max_bytes:
            done = self.rest()
        self._images.append(image)
        self._num_bytes += num_bytes
        return done

    def rest(self) -> list[Image]:
        """What has been added and not been returned."""
        images, self._images, self._num_bytes = self._images, [], 0
        return images


def batches(images: Iterable[Image], limits: Limits) -> Iterator[list[Image]]:
    """See Batches."""
    cutter = Batches(limits)
    for image in images:
        if batch := cutter.add(image):
            yield batch
    if batch := cutter.rest():
        yield batch


def embed_images(
    images: Iterable[Image], preprocessing: Preprocessing, server_info: ServerInfo
) -> Call[list[ImageEmbedding]]:
    sent = [Sent.of(image.id, messages.image_to_proto(image, str(index))) for index, image in enumerate(images)]

    def embedding(item: Sent, result: pb.ImageResult) -> ImageEmbedding:
        item.check(result.sha256)
        outcome = item_error(result) if result.HasField("error") else _unit_vector(result, server_info)
        return ImageEmbedding(item.id, item.sha256, outcome, server_info.weights_sha256)

    def parse(response: pb.EmbedImagesResponse) -> list[ImageEmbedding]:
        if response.weights_sha256 != server_info.weights_sha256:
            raise ProtocolError("the labeler's weights changed between embeddings of one call")
        return [embedding(item, result) for item, result in _paired(sent, response.results)]

    request = pb.EmbedImagesRequest(
        preprocessing=messages.preprocessing_to_proto(preprocessing), images=[item.message for item in sent]
    )
    return Call("EmbedImages", request, parse)


def estimate_bias(rows: FloatArray | None, gate: EntropyGate, statistics: Iterable[BiasEstimate]) -> Call[BiasEstimate]:
    """One step of an estimate over many rows: these rows, and the statistics of others to merge."""
    requests = [pb.EstimateBiasRequest(gate=messages.gate_to_proto(gate))]
    if rows is not None:
        requests[0].probabilities.CopyFrom(messages.matrix_to_proto(rows))
    requests += [pb.EstimateBiasRequest(statistics=messages.statistics_to_proto(known)) for known in statistics]
    return Call("EstimateBias", requests, messages.bias_estimate_from_proto)


def apply_bias(probabilities: FloatArray, calibration: Calibration) -> Call[FloatArray]:
    rows, columns = probabilities.shape

    def parse(response: pb.ApplyBiasResponse) -> FloatArray:
        labels = messages.matrix_from_proto(response.labels, rows, columns)
        if labels.min() < 0 or (calibration.clamp and labels.max() > 1):
            raise ProtocolError(f"the reply holds labels from {labels.min()} to {labels.max()}")
        return labels

    request = pb.ApplyBiasRequest(
        probabilities=messages.matrix_to_proto(probabilities),
        calibration=messages.calibration_to_proto(calibration),
    )
    return Call("ApplyBias", request, parse)


def row_chunks(rows: npt.NDArray[np.floating] | Iterable[npt.NDArray[np.floating]]) -> Iterator[FloatArray]:
    """Rows (N, C) of one array, or of several one after the other, cut to the size of a message."""
    for array in [rows] if isinstance(rows, np.ndarray) else rows:
        rows_NC = np.atleast_2d(np.asarray(array, np.float32))
        step = max(1, MATRIX_MESSAGE_BYTES // max(1, rows_NC[:1].nbytes))
        for start in range(0, len(rows_NC), step):
            yield rows_NC[start : start + step]


def _paired(sent: list[Sent], results: Sequence[pb.ImageResult]) -> Iterator[tuple[Sent, pb.ImageResult]]:
    """Items with their results; raises ProtocolError unless these are in request order."""
    if [result.id for result in results] != [item.message.id for item in sent]:
        raise ProtocolError(f"{len(sent)} images were sent, the reply has other results or another order")
    return zip(sent, results, strict=True)


def _unit_vector(result: pb.ImageResult, server_info: ServerInfo) -> FloatArray:
    vector_D = messages.row_from_proto(result.scores, server_info.embedding_size)
    if abs(float(np.linalg.norm(vector_D)) - 1) > TOLERANCE:
        raise ProtocolError("the reply holds an embedding that is not of unit length")
    return vector_D
