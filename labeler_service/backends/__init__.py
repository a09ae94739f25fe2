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
    multiples of this. `variable_size`: it takes views of other sizes than its native resolution."""

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


class OutOfDeviceMemoryError(Exception):
    """The batch did not fit; a smaller one may."""


class Backend(Protocol):
    """Runs a model on one device. Not thread-safe: one thread calls it."""

    @property
    def info(self) -> ModelInfo: ...

    def encode_images(self, pixels_BHW3: Pixels, normalization: Normalization) -> Embeddings:
        """uint8 (B, H, W, 3) to unit rows, float32 (B, D).

        Raises DeviceLostError when the device is gone for good; after any other error it can be called again.
        """
        ...

    def encode_texts(self, texts: list[str]) -> Embeddings:
        """Texts to unit rows, float32 (n, D)."""
        ...
