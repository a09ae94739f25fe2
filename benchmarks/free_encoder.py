"""A labeler whose encoder costs nothing: what is left is the price of everything else.

python -m benchmarks.free_encoder --port 50051
"""

import sys
from typing import Annotated

import cyclopts
import numpy as np
from numpy.typing import NDArray

from labeler_service import engine, server
from labeler_service.backends import IMAGENET_NORMALIZATION, Backend, Computed, ModelInfo, Normalization
from labeler_service.config import ServerConfig
from labeler_service.images import ModelPreprocessing

EMBEDDING_SIZE = 512  # ViT-B-32's


class FreeEncoder(Backend):
    """The same embedding for every image; `leak` bytes a view are kept for good, as a control for tests of memory."""

    def __init__(self, leak: int = 0) -> None:
        self.info = ModelInfo(
            weights_sha256="0" * 64,
            backend="free",
            dtype="float32",
            device="cpu",
            embedding_size=EMBEDDING_SIZE,
            native_resolution=32,
            temperature=0.01,
            stride=32,
            multiple=1,
            variable_size=True,
            normalization=IMAGENET_NORMALIZATION,
            preprocessing=ModelPreprocessing(32),
        )
        self._leak = leak
        self._leaked: list[bytes] = []

    def submit(self, pixels_BHW3: NDArray[np.uint8], normalization: Normalization) -> Computed:
        self._leaked += [bytes(self._leak) for _ in pixels_BHW3] if self._leak else []
        return Computed(np.full((len(pixels_BHW3), EMBEDDING_SIZE), EMBEDDING_SIZE**-0.5, np.float32))

    def encode_texts(self, texts: list[str]) -> NDArray[np.float32]:
        rows = np.random.default_rng(0).standard_normal((len(texts), EMBEDDING_SIZE))
        unit_rows: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit_rows


def main(config: Annotated[ServerConfig, cyclopts.Parameter(name="*")] = ServerConfig(), *, leak: int = 0) -> int:  # noqa: B008
    """Serves until its standard input closes or SIGTERM."""
    engine.load_backend = lambda config: FreeEncoder(leak)
    return server.run(config)


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
