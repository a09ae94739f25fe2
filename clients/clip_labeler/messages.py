"""Values and arrays to protobuf and back; a reply that breaks the contract raises ProtocolError. No I/O."""

import hashlib
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from google.rpc import code_pb2, error_details_pb2, status_pb2

from clip_labeler.errors import ProtocolError
from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.values import (
    BiasEstimate,
    BoxedImage,
    Calibration,
    EmbeddedImage,
    EncodedCrops,
    EntropyGate,
    FloatArray,
    Image,
    ItemError,
    Limits,
    Preprocessing,
    ServerInfo,
    Timings,
)

EnumT = TypeVar("EnumT")

PROFILES = {
    "paper": pb.Preprocessing.PROFILE_PAPER,
    "bucketed": pb.Preprocessing.PROFILE_BUCKETED,
    "model": pb.Preprocessing.PROFILE_MODEL,
}
NORMALIZATIONS = {
    "model": pb.Preprocessing.NORMALIZATION_UNSPECIFIED,
    "imagenet": pb.Preprocessing.NORMALIZATION_IMAGENET,
}
OUTPUTS = {
    "probabilities": pb.ScoreOptions.OUTPUT_PROBABILITIES,
    "cosines": pb.ScoreOptions.OUTPUT_COSINES,
}
ENTROPY_UNITS = {
    "nats": pb.EntropyGate.UNIT_NATS,
    "normalized": pb.EntropyGate.UNIT_NORMALIZED,
}


def choice(known: dict[str, EnumT], name: str, what: str) -> EnumT:
    """The enum value of `name`; raises ValueError that lists the known names."""
    if name not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {name!r}")
    return known[name]


# To protobuf.


def matrix_to_proto(rows: npt.ArrayLike) -> pb.Matrix:
    """(N, C) or, for one row, (C,) numbers as a float32 matrix."""
    array = np.atleast_2d(np.asarray(rows, "<f4"))
    if array.ndim != 2:
        raise ValueError(f"expected rows (N, C) or one row (C,), got an array of shape {array.shape}")
    return pb.Matrix(rows=array.shape[0], columns=array.shape[1], data=array.tobytes())


def preprocessing_to_proto(preprocessing: Preprocessing) -> pb.Preprocessing:
    return pb.Preprocessing(
        profile=choice(PROFILES, preprocessing.profile, "profile"),
        view_size=preprocessing.view_size,
        normalization=choice(NORMALIZATIONS, preprocessing.normalization, "normalization"),
    )


def calibration_to_proto(calibration: Calibration) -> pb.Calibration:
    return pb.Calibration(bias=matrix_to_proto(calibration.bias), floor=calibration.floor, clamp=calibration.clamp)


def gate_to_proto(gate: EntropyGate) -> pb.EntropyGate:
    return pb.EntropyGate(max_entropy=gate.max_entropy, unit=choice(ENTROPY_UNITS, gate.unit, "unit"))


def image_to_proto(image: Image | EmbeddedImage, wire_id: str) -> pb.Image:
    if isinstance(image, Image):
        return pb.Image(id=wire_id, content=image.content)
    return pb.Image(id=wire_id, embedding=matrix_to_proto(image.embedding))


def crop_item_to_proto(item: BoxedImage | EncodedCrops, wire_id: str) -> pb.CropItem:
    if isinstance(item, EncodedCrops):
        return pb.CropItem(id=wire_id, encoded_crops=pb.EncodedCrops(contents=item.contents))
    boxes_k4 = np.asarray(item.boxes)
    if boxes_k4.ndim != 2 or boxes_k4.shape[1] != 4 or boxes_k4.dtype.kind not in "iu":
        raise ValueError(f"boxes of {item.id!r} must be integers (k, 4), got {boxes_k4.dtype} {boxes_k4.shape}")
    boxes = [pb.Box(x0=x0, y0=y0, x1=x1, y1=y1) for x0, y0, x1, y1 in boxes_k4.tolist()]
    return pb.CropItem(id=wire_id, boxed_image=pb.BoxedImage(content=item.content, boxes=boxes))


def payload_sha256(item: pb.Image | pb.CropItem) -> bytes:
    """The digest that the labeler's reply must echo for this item."""
    if isinstance(item, pb.Image):
        return hashlib.sha256(item.content or item.embedding.data).digest()
    if item.HasField("boxed_image"):
        return hashlib.sha256(item.boxed_image.content).digest()
    digests = [hashlib.sha256(content).digest() for content in item.encoded_crops.contents]
    return hashlib.sha256(b"".join(digests)).digest()


def num_crops(item: pb.CropItem) -> int:
    return len(item.boxed_image.boxes) if item.HasField("boxed_image") else len(item.encoded_crops.contents)


# From protobuf.


def server_info_from_proto(response: pb.GetServerInfoResponse) -> ServerInfo:
    scalars = {field.name: getattr(response, field.name) for field in fields(ServerInfo) if field.name != "limits"}
    limits = Limits(**{field.name: getattr(response.limits, field.name) for field in fields(Limits)})
    if not response.weights_sha256 or min(vars(limits).values()) < 1:
        raise ProtocolError("the labeler's server info lacks the weights or a limit")
    return ServerInfo(**scalars, limits=limits)


def timings_from_proto(response: Any, round_trip: float | None) -> Timings:
    """Of any response that has results."""
    timings = response.timings
    return Timings(
        num_items=len(response.results),
        decode=timings.decode_seconds,
        queue=timings.queue_seconds,
        device=timings.device_seconds,
        server=timings.total_seconds,
        round_trip=round_trip,
    )


def matrix_from_proto(matrix: pb.Matrix, rows: int, columns: int) -> FloatArray:
    """(rows, columns) float32, finite."""
    if (matrix.rows, matrix.columns) != (rows, columns) or len(matrix.data) != rows * columns * 4:
        raise ProtocolError(
            f"expected a matrix of {rows} x {columns}, got {matrix.rows} x {matrix.columns} in {len(matrix.data)} bytes"
        )
    array = np.frombuffer(matrix.data, "<f4").reshape(rows, columns).astype(np.float32)
    if not np.isfinite(array).all():
        raise ProtocolError("the reply holds values that are not finite")
    return array


def row_from_proto(matrix: pb.Matrix, columns: int) -> FloatArray:
    """(columns,) float32, finite."""
    return matrix_from_proto(matrix, 1, columns).reshape(columns)


def bias_estimate_from_proto(response: pb.EstimateBiasResponse) -> BiasEstimate:
    num_classes = response.bias.columns
    bias = row_from_proto(response.bias, num_classes)
    if not ((bias > 0) & (bias <= 1)).all():
        raise ProtocolError("the reply holds a class bias outside (0, 1]")
    statistics = response.statistics
    if not len(statistics.sums) == len(statistics.counts) == num_classes:
        raise ProtocolError(f"the bias statistics are not of {num_classes} classes")
    return BiasEstimate(
        bias, np.array(statistics.sums, np.float64), np.array(statistics.counts, np.int64), statistics.num_rows
    )


def statistics_to_proto(estimate: BiasEstimate) -> pb.BiasStatistics:
    return pb.BiasStatistics(sums=estimate.sums.tolist(), counts=estimate.counts.tolist(), num_rows=estimate.num_rows)


def item_error_from_proto(status: status_pb2.Status) -> ItemError:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        detail.Unpack(info)  # leaves `info` alone when the detail is of another type
    return ItemError(code_pb2.Code.Name(status.code), info.reason, status.message)
