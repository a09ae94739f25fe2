"""What callers pass to the client and get from it: plain values, no protobuf and no I/O."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from clip_labeler.errors import ItemFailedError

FloatArray: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]

Profile: TypeAlias = Literal["paper", "bucketed", "model"]
Normalization: TypeAlias = Literal["model", "imagenet"]
Output: TypeAlias = Literal["probabilities", "cosines"]
EntropyUnit: TypeAlias = Literal["nats", "normalized"]


@dataclass(frozen=True)
class Limits:
    """What the labeler accepts; the meaning and unit of each field is in the contract's message of that name."""

    max_items_per_request: int
    max_request_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_crops_per_item: int
    max_requests_in_flight: int
    max_items_in_flight_per_stream: int
    max_classes: int
    max_text_bytes: int
    max_view_size: int
    max_non_jpeg_pixels: int


@dataclass(frozen=True)
class ServerInfo:
    """The labeler's model, precision and limits; fields as in the contract's GetServerInfoResponse."""

    version: str
    model_name: str
    weights_sha256: str
    dtype: str
    device: str
    backend: str
    embedding_size: int
    native_resolution: int
    temperature: float
    reproducible: bool
    limits: Limits


@dataclass(frozen=True)
class Vocabulary:
    """Class names that the labeler has encoded: columns of every score matrix follow their order.

    `requested_temperature` and `prompt_templates` are as they were asked for, so that a replica that does not know
    the vocabulary can be given the same one; `temperature` is the one in force, positive.
    """

    id: str
    class_names: tuple[str, ...]
    prompt_templates: tuple[str, ...]
    requested_temperature: float | None
    temperature: float
    weights_sha256: str


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become the model's input.

    `view_size` is in pixels (the paper uses 640); 0: the model's native resolution. The profiles are explained in
    the contract's message of the same name. "imagenet" normalization does not go with the profile "model".
    """

    profile: Profile
    view_size: int = 0
    normalization: Normalization = "model"


@dataclass(frozen=True, eq=False)
class Calibration:
    """Debiasing: label = max(p, floor) / bias, limited to 1 with `clamp` (paper section 3.3).

    `bias` is (C,) float32 in (0, 1]; `floor` is in [0, 1].
    """

    bias: FloatArray
    floor: float = 0.0
    clamp: bool = False


@dataclass(frozen=True)
class EntropyGate:
    """Rows count as single-label images when their entropy is at most this (paper section 3.3, step 2).

    "nats" is the natural logarithm; "normalized" is divided by ln(classes), so in [0, 1].
    """

    max_entropy: float
    unit: EntropyUnit


@dataclass(frozen=True, eq=False)
class BiasEstimate:
    """Class bias and the statistics that it comes from; estimates of disjoint rows merge.

    `bias` is (C,) float32 in (0, 1]; `sums` (C,) float64 holds the sum of top-1 probabilities and `counts` (C,)
    int64 the number of rows per class that passed the gate; `num_rows` counts all rows.
    """

    bias: FloatArray
    sums: npt.NDArray[np.float64]
    counts: IntArray
    num_rows: int


@dataclass(frozen=True)
class Image:
    """A whole image: its encoded file (JPEG, PNG, WebP, ...), unchanged. The id stays with the caller."""

    id: str
    content: bytes


@dataclass(frozen=True, eq=False)
class EmbeddedImage:
    """An image whose embedding, (D,) float32 from `embed_images` with the same weights, stands for its pixels."""

    id: str
    embedding: FloatArray
    weights_sha256: str


@dataclass(frozen=True, eq=False)
class BoxedImage:
    """An image and its local views.

    `boxes` is (k, 4) of integers x0 y0 x1 y1, half-open, pixels of the original image after EXIF orientation.
    """

    id: str
    content: bytes
    boxes: npt.NDArray[np.integer]


@dataclass(frozen=True)
class EncodedCrops:
    """Local views that the caller cut itself, each an encoded image."""

    id: str
    contents: tuple[bytes, ...]


@dataclass(frozen=True)
class Timings:
    """Where the time of one response went: seconds, summed over its images but for the last two.

    `decode`, `queue`, `device`: as in the contract's message of that name. `server`: from the request's arrival at
    the labeler to the response, by its clock. `round_trip`: from the request's leaving to the response, by the
    client's clock; None on streams, where requests and responses do not pair.
    """

    num_items: int
    decode: float
    queue: float
    device: float
    server: float
    round_trip: float | None


@dataclass(frozen=True)
class ItemError:
    """Why one image, crop or box could not be scored: a gRPC code ("INVALID_ARGUMENT"), a reason, a sentence."""

    code: str
    reason: str
    message: str


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Outcome of one image. `outcome` is its scores or its error; `sha256` (32 bytes) is of the payload scored."""

    id: str
    sha256: bytes
    outcome: FloatArray | ItemError

    @property
    def error(self) -> ItemError | None:
        return self.outcome if isinstance(self.outcome, ItemError) else None

    @property
    def scores(self) -> FloatArray:
        """(C,) float32; raises ItemFailedError when the image failed, so that no error passes for a label."""
        return _value_or_raise(self.id, self.outcome)


@dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """Outcome of one image: its embedding or its error, and the weights of the model that made it."""

    id: str
    sha256: bytes
    outcome: FloatArray | ItemError
    weights_sha256: str

    @property
    def error(self) -> ItemError | None:
        return self.outcome if isinstance(self.outcome, ItemError) else None

    @property
    def embedding(self) -> FloatArray:
        """(D,) float32 of unit length; raises ItemFailedError when the image failed."""
        return _value_or_raise(self.id, self.outcome)


@dataclass(frozen=True, eq=False)
class CropScores:
    """Outcome of one item of local views.

    `error` is set when the image as a whole could not be used; then there are no `crops`. Otherwise `crops` holds
    one outcome per box or crop, in their order: (C,) float32 scores or an error. `sha256` (32 bytes) is of the
    image; for encoded crops of the concatenation of their sha256 digests.
    """

    id: str
    sha256: bytes
    crops: tuple[FloatArray | ItemError, ...]
    error: ItemError | None
    num_classes: int

    @property
    def scores(self) -> FloatArray:
        """(k, C) float32 of all k crops; raises ItemFailedError when the image or any of its crops failed."""
        for index, error in self.crop_errors.items():
            raise ItemFailedError(f"crop {index} of {self.id!r} was not scored: {error.message}")
        return self.scored_crops[1]

    @property
    def crop_errors(self) -> dict[int, ItemError]:
        """Errors by index of the crop."""
        return {index: crop for index, crop in enumerate(self.crops) if isinstance(crop, ItemError)}

    @property
    def scored_crops(self) -> tuple[IntArray, FloatArray]:
        """Indices (m,) int64 of the crops that were scored and their scores (m, C) float32, m >= 0.

        Raises ItemFailedError when the image as a whole failed.
        """
        if self.error is not None:
            raise ItemFailedError(f"{self.id!r} was not scored: {self.error.message}")
        scored = [(index, crop) for index, crop in enumerate(self.crops) if not isinstance(crop, ItemError)]
        indices = np.array([index for index, _ in scored], np.int64)
        scores = np.array([crop for _, crop in scored], np.float32)
        return indices, scores.reshape(len(scored), self.num_classes)


def _value_or_raise(item_id: str, outcome: FloatArray | ItemError) -> FloatArray:
    if isinstance(outcome, ItemError):
        raise ItemFailedError(f"{item_id!r} was not scored: {outcome.message}")
    return outcome
