"""What a score call asks for each item, and how the reply for that item is checked; no I/O.

The two score streams differ in their messages alone, so each is one subclass.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from clip_labeler import messages
from clip_labeler.errors import ProtocolError, UnavailableError
from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.values import (
    BoxedImage,
    Calibration,
    CropScores,
    EmbeddedImage,
    EncodedCrops,
    FloatArray,
    Image,
    ImageScores,
    ItemError,
    Output,
    Preprocessing,
    Vocabulary,
)

ItemT = TypeVar("ItemT", bound=Image | EmbeddedImage | BoxedImage | EncodedCrops)
ResultT = TypeVar("ResultT")

# How far float16 and float32 rounding may carry a sum of probabilities from 1, or a cosine beyond it.
TOLERANCE = 1e-3


@dataclass
class Sent:
    """An item on its way. Its message has a running number for an id: callers' ids may repeat, or be paths."""

    id: str
    message: Any  # pb.Image or pb.CropItem
    sha256: bytes
    num_bytes: int
    arrived_damaged: bool = False

    @classmethod
    def of(cls, item_id: str, message: pb.Image | pb.CropItem) -> "Sent":
        return cls(item_id, message, messages.payload_sha256(message), message.ByteSize())

    def check(self, sha256: bytes) -> None:
        """Compares the digest of what the labeler scored.

        Raises UnavailableError when it differs for the first time, so that the item is sent again: in plain text only
        TCP's 16-bit sum guards it on its way. Raises ProtocolError the second time: then it is the labeler.
        """
        if sha256 == self.sha256:
            return
        message = f"the scores that came for {self.id!r} are of other bytes than were sent"
        if self.arrived_damaged:
            raise ProtocolError(message)
        self.arrived_damaged = True
        raise UnavailableError(message)


class Scoring(ABC, Generic[ItemT, ResultT]):
    """Options of one score call, and the check of its rows."""

    rpc: str

    def __init__(
        self,
        vocabulary: Vocabulary,
        preprocessing: Preprocessing,
        output: Output,
        calibration: Calibration | None,
    ) -> None:
        self.vocabulary = vocabulary
        self.options = pb.ScoreOptions(
            vocabulary_id=vocabulary.id,
            preprocessing=messages.preprocessing_to_proto(preprocessing),
            output=messages.choice(messages.OUTPUTS, output, "output"),
            calibration=None if calibration is None else messages.calibration_to_proto(calibration),
        )
        self._cosines = output == "cosines"
        self._calibration = calibration

    @abstractmethod
    def request(self, items: list[Any], *, with_options: bool) -> Any:
        """One message of the stream."""

    @abstractmethod
    def to_message(self, item: ItemT, wire_id: str) -> Any:
        """The contract's message for `item`; raises ValueError for an item that fits none."""

    @abstractmethod
    def failed(self, sent: Sent, error: ItemError) -> ResultT:
        """The result of an item that failed as a whole."""

    @abstractmethod
    def scored(self, sent: Sent, result: Any) -> ResultT:
        """The result of an item that did not fail as a whole."""

    def send(self, item: ItemT, wire_id: str) -> Sent:
        return Sent.of(item.id, self.to_message(item, wire_id))

    def result(self, sent: Sent, result: Any) -> ResultT:
        """The value of one checked reply item; raises ProtocolError, or UnavailableError to send the item again."""
        sent.check(result.sha256)
        if result.HasField("error"):
            return self.failed(sent, item_error(result))
        return self.scored(sent, result)

    def check_weights(self, weights_sha256: str) -> None:
        """Raises ProtocolError if another model answers: labels of two models must never mix."""
        if weights_sha256 != self.vocabulary.weights_sha256:
            raise ProtocolError(
                f"the labeler's weights changed from {self.vocabulary.weights_sha256} to {weights_sha256}: "
                "start again with a new vocabulary"
            )

    def row(self, matrix: pb.Matrix) -> FloatArray:
        """(C,) scores in the range that the options promise."""
        row_C = messages.row_from_proto(matrix, len(self.vocabulary.class_names))
        lowest, highest = self._range()
        if row_C.min() < lowest or row_C.max() > highest:
            raise ProtocolError(f"the reply holds scores from {row_C.min()} to {row_C.max()}")
        if not self._cosines and self._calibration is None and abs(float(row_C.sum()) - 1) > TOLERANCE:
            raise ProtocolError(f"the reply holds probabilities that sum to {row_C.sum()}")
        return row_C

    def _range(self) -> tuple[float, float]:
        if self._cosines:
            return -1 - TOLERANCE, 1 + TOLERANCE
        if self._calibration is not None and not self._calibration.clamp:
            return 0.0, np.inf
        return 0.0, 1.0


class ImageScoring(Scoring[Image | EmbeddedImage, ImageScores]):
    """Whole images, or their embeddings."""

    rpc = "ScoreImageStream"

    def request(self, items: list[pb.Image], *, with_options: bool) -> pb.ScoreImageStreamRequest:
        return pb.ScoreImageStreamRequest(options=self.options if with_options else None, images=items)

    def to_message(self, item: Image | EmbeddedImage, wire_id: str) -> pb.Image:
        if isinstance(item, EmbeddedImage) and item.weights_sha256 != self.vocabulary.weights_sha256:
            raise ValueError(f"the embedding of {item.id!r} was made with other weights than the vocabulary")
        return messages.image_to_proto(item, wire_id)

    def failed(self, sent: Sent, error: ItemError) -> ImageScores:
        return ImageScores(sent.id, sent.sha256, error)

    def scored(self, sent: Sent, result: pb.ImageResult) -> ImageScores:
        return ImageScores(sent.id, sent.sha256, self.row(result.scores))


class CropScoring(Scoring[BoxedImage | EncodedCrops, CropScores]):
    """Local views."""

    rpc = "ScoreCrops"

    def request(self, items: list[pb.CropItem], *, with_options: bool) -> pb.ScoreCropsRequest:
        return pb.ScoreCropsRequest(options=self.options if with_options else None, items=items)

    def to_message(self, item: BoxedImage | EncodedCrops, wire_id: str) -> pb.CropItem:
        return messages.crop_item_to_proto(item, wire_id)

    def failed(self, sent: Sent, error: ItemError) -> CropScores:
        return CropScores(sent.id, sent.sha256, (), error, len(self.vocabulary.class_names))

    def scored(self, sent: Sent, result: pb.CropItemResult) -> CropScores:
        expected = messages.num_crops(sent.message)
        if len(result.crops) != expected:
            raise ProtocolError(f"{sent.id!r} has {expected} crops, the reply has {len(result.crops)}")
        outcomes = tuple(item_error(crop) if crop.HasField("error") else self.row(crop.scores) for crop in result.crops)
        return CropScores(sent.id, sent.sha256, outcomes, None, len(self.vocabulary.class_names))


def item_error(result: pb.ImageResult | pb.CropItemResult | pb.CropResult) -> ItemError:
    """The error of an item; raises UnavailableError where the item is fine and only the labeler was not."""
    error = messages.item_error_from_proto(result.error)
    if error.code == "UNAVAILABLE":
        raise UnavailableError(f"the labeler could not score an item now: {error.message}")
    return error
