"""Protobuf to domain and back, with the checks that the contract promises. No I/O, no mathematics.

Raises RequestError (INVALID_ARGUMENT) with the field's name where a message breaks the contract.
"""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clip_labeler.v1 import labeler_pb2 as pb
from labeler_service.backends import IMAGENET_NORMALIZATION, ModelInfo
from labeler_service.calibration import BiasStatistics, Calibration, EntropyGate, check_range
from labeler_service.config import ServerConfig
from labeler_service.errors import ItemError, RequestError, to_status
from labeler_service.images import Profile, ViewGeometry
from labeler_service.pipeline import Preprocessing, Timings
from labeler_service.scoring import Output
from labeler_service.vocabulary import VocabularySpec

Float32 = NDArray[np.float32]
LITTLE_ENDIAN_FLOAT32 = np.dtype("<f4")
# Embeddings come back as they were sent, so their length is 1 up to rounding.
UNIT_LENGTH_TOLERANCE = 1e-3

_PROFILES = {
    pb.Preprocessing.PROFILE_PAPER: Profile.PAPER,
    pb.Preprocessing.PROFILE_BUCKETED: Profile.BUCKETED,
    pb.Preprocessing.PROFILE_MODEL: Profile.MODEL,
}
_OUTPUTS = {
    pb.ScoreOptions.OUTPUT_PROBABILITIES: Output.PROBABILITIES,
    pb.ScoreOptions.OUTPUT_COSINES: Output.COSINES,
}


def invalid(field: str, problem: str) -> RequestError:
    """What a caller is told who filled a field wrongly."""
    return RequestError("INVALID_FIELD", f"{field}: {problem}")


def parse_matrix(matrix: pb.Matrix, field: str) -> Float32:
    """Float32 (rows, columns), a view of the message's bytes."""
    expected = matrix.rows * matrix.columns * LITTLE_ENDIAN_FLOAT32.itemsize
    if matrix.rows < 1 or matrix.columns < 1 or len(matrix.data) != expected:
        size = f"{matrix.rows} x {matrix.columns}"
        raise invalid(field, f"{size} float32 take {expected} bytes, data has {len(matrix.data)}; empty is not allowed")
    values: Float32 = np.frombuffer(matrix.data, LITTLE_ENDIAN_FLOAT32).reshape(matrix.rows, matrix.columns)
    return values


def parse_probabilities(matrix: pb.Matrix) -> Float32:
    """Float32 (rows, columns) in [0, 1]."""
    probs_NC = parse_matrix(matrix, "probabilities")
    try:
        check_range(probs_NC)
    except ValueError as error:
        raise invalid("probabilities", str(error)) from None
    return probs_NC


def to_matrix(values: Float32) -> pb.Matrix:
    """(rows, columns), or (columns,) as one row."""
    rows, columns = np.atleast_2d(values).shape
    return pb.Matrix(rows=rows, columns=columns, data=values.astype(LITTLE_ENDIAN_FLOAT32, copy=False).tobytes())


def parse_embedding(matrix: pb.Matrix, size: int) -> Float32:
    """A unit vector, float32 (D,). Raises ItemError."""
    try:
        embedding_1D = parse_matrix(matrix, "embedding")
    except RequestError as error:
        raise ItemError("BAD_EMBEDDING", error.message) from None
    if embedding_1D.shape != (1, size):
        raise ItemError("BAD_EMBEDDING", f"embedding is {matrix.rows} x {matrix.columns}, this model's are 1 x {size}")
    if not abs(np.linalg.norm(embedding_1D) - 1) <= UNIT_LENGTH_TOLERANCE:  # Fails for NaN too.
        raise ItemError("BAD_EMBEDDING", "embedding is not of unit length")
    embedding_D: Float32 = embedding_1D[0]
    return embedding_D


def parse_vocabulary(request: pb.CreateVocabularyRequest) -> VocabularySpec:
    return VocabularySpec(
        class_names=tuple(request.class_names),
        templates=tuple(request.prompt_templates),
        temperature=request.temperature or None,
    )


def parse_preprocessing(message: pb.Preprocessing, model: ModelInfo, max_view_size: int) -> Preprocessing:
    if message.profile not in _PROFILES:
        raise invalid("preprocessing.profile", "is required")
    profile = _PROFILES[message.profile]
    imagenet = message.normalization == pb.Preprocessing.NORMALIZATION_IMAGENET
    if profile is Profile.MODEL and imagenet:
        raise invalid("preprocessing.normalization", "PROFILE_MODEL has the model's own")
    if profile is not Profile.MODEL and not model.variable_size:
        raise invalid("preprocessing.profile", "this model takes one input size only: use PROFILE_MODEL")
    side = message.view_size or model.native_resolution
    if profile is not Profile.MODEL and not model.stride <= side <= max_view_size:
        raise invalid("preprocessing.view_size", f"must be 0 or in {model.stride} to {max_view_size}, got {side}")
    return Preprocessing(
        geometry=ViewGeometry(
            profile=profile,
            side=side,
            multiple=model.stride if profile is Profile.BUCKETED else model.multiple,
            minimum=model.stride,
            model=model.preprocessing,
        ),
        normalization=IMAGENET_NORMALIZATION if imagenet else model.normalization,
    )


def parse_output(options: pb.ScoreOptions) -> Output:
    if options.output not in _OUTPUTS:
        raise invalid("options.output", "is required")
    if options.output == pb.ScoreOptions.OUTPUT_COSINES and options.HasField("calibration"):
        raise invalid("options.calibration", "does not go with OUTPUT_COSINES")
    return _OUTPUTS[options.output]


def parse_calibration(message: pb.Calibration, num_classes: int) -> Calibration:
    bias_1C = parse_matrix(message.bias, "calibration.bias")
    if bias_1C.shape != (1, num_classes):
        raise invalid(
            "calibration.bias", f"must be 1 x {num_classes}, got {message.bias.rows} x {message.bias.columns}"
        )
    try:
        return Calibration(bias_1C[0], message.floor, message.clamp)
    except ValueError as error:
        raise invalid("calibration", str(error)) from None


def parse_gate(message: pb.EntropyGate) -> EntropyGate:
    if message.unit not in (pb.EntropyGate.UNIT_NATS, pb.EntropyGate.UNIT_NORMALIZED):
        raise invalid("gate.unit", "is required")
    try:
        return EntropyGate(message.max_entropy, message.unit == pb.EntropyGate.UNIT_NORMALIZED)
    except ValueError as error:
        raise invalid("gate", str(error)) from None


def parse_statistics(request: pb.EstimateBiasRequest, gate: EntropyGate) -> list[BiasStatistics]:
    """Of the request's rows and of the statistics that it brings along."""
    parsed = []
    try:
        if request.HasField("probabilities"):
            parsed.append(BiasStatistics.of(parse_matrix(request.probabilities, "probabilities"), gate))
        if request.HasField("statistics"):
            message = request.statistics
            sums, counts = np.array(message.sums, np.float64), np.array(message.counts, np.int64)
            parsed.append(BiasStatistics(sums, counts, message.num_rows))
    except ValueError as error:
        raise invalid("probabilities or statistics", str(error)) from None
    return parsed


def to_statistics(statistics: BiasStatistics) -> pb.BiasStatistics:
    return pb.BiasStatistics(
        sums=statistics.sums.tolist(), counts=statistics.counts.tolist(), num_rows=statistics.num_rows
    )


def to_image_result(image_id: str, digest: bytes, outcome: Float32 | ItemError) -> pb.ImageResult:
    if isinstance(outcome, ItemError):
        return pb.ImageResult(id=image_id, sha256=digest, error=to_status(outcome))
    return pb.ImageResult(id=image_id, sha256=digest, scores=to_matrix(outcome))


def to_crop_item_result(
    item_id: str, digest: bytes, outcome: list[Float32 | ItemError] | ItemError
) -> pb.CropItemResult:
    if isinstance(outcome, ItemError):
        return pb.CropItemResult(id=item_id, sha256=digest, error=to_status(outcome))
    return pb.CropItemResult(id=item_id, sha256=digest, crops=[_to_crop_result(row) for row in outcome])


def _to_crop_result(outcome: Float32 | ItemError) -> pb.CropResult:
    if isinstance(outcome, ItemError):
        return pb.CropResult(error=to_status(outcome))
    return pb.CropResult(scores=to_matrix(outcome))


def to_timings(timings: Sequence[Timings]) -> pb.Timings:
    """Sums over items; the total runs from the arrival of the first of them until now."""
    return pb.Timings(
        decode_seconds=sum(item.decode for item in timings),
        queue_seconds=sum(item.queue for item in timings),
        device_seconds=sum(item.device for item in timings),
        total_seconds=time.perf_counter() - min(item.arrived for item in timings),
    )


def to_limits(config: ServerConfig) -> pb.Limits:
    """The settings have the contract's names."""
    return pb.Limits(**{field.name: getattr(config, field.name) for field in pb.Limits.DESCRIPTOR.fields})
