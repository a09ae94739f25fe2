"""What every backend is: two verbs, images and texts to embeddings, and a description of its model."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labeler_service.images import ModelPreprocessing, Pixels

Embeddings = NDArray[np.float32]


@dataclass(frozen=True)
class Normalization:
    """Per channel, for values in [0, 1]: (value - mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# https://pytorch.org/vision/stable/models.html; the paper's released code uses it with CLIP too.
IMAGENET_NORMALIZATION = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class ModelInfo:
    """A loaded model. `stride`: pixels per cell of its feature map. `multiple`: sides that it can see whole are
    multiples of this. `variable_size`: it takes views of other sizes than its native resolution. `structure_sha256`:
    of its architecture and activation, since equal weights in another structure give other embeddings."""

    weights_sha256: str
    backend: str
    dtype: str
    device: str
    embedding_size: int
    native_resolution: int
    temperature: float
    stride: int
    multiple: int
    variable_size: bool
    normalization: Normalization
    preprocessing: ModelPreprocessing
    structure_sha256: str = ""


class OutOfDeviceMemoryError(Exception):
    """The batch did not fit; a smaller one may."""


class Pending(Protocol):
    """A batch that the device works on."""

    def result(self) -> Embeddings:
        """Waits for the batch: unit rows, float32 (B, D). Raises as `Backend.submit` does."""
        ...


@dataclass(frozen=True)
class Computed:
    """A batch that is done already, as on every device that computes at once."""

    embeddings: Embeddings

    def result(self) -> Embeddings:
        return self.embeddings


class Backend(Protocol):
    """Runs a model on one device. Not thread-safe: one thread calls it, and the results of what it submitted.

    A row that the model gave no finite values for is left as it is, so that its neighbours are not lost.
    """

    info: ModelInfo

    def submit(self, pixels_BHW3: Pixels, normalization: Normalization) -> Pending:
        """Starts a batch, uint8 (B, H, W, 3). Where copies can overlap with compute, it returns before the batch is
        done: submit the next one before asking for this one's result. The pixels may be reused once it has returned.

        It or the result raises OutOfDeviceMemoryError, or DeviceLostError when the device is gone for good; after any
        other error the backend can be called again.
        """
        ...

    def encode_images(self, pixels_BHW3: Pixels, normalization: Normalization) -> Embeddings:
        """uint8 (B, H, W, 3) to unit rows, float32 (B, D). Raises as submit does."""
        return self.submit(pixels_BHW3, normalization).result()

    def encode_texts(self, texts: list[str]) -> Embeddings:
        """Texts to unit rows, float32 (n, D)."""
        ...
