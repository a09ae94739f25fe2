"""CLIP's zero-shot scores: cosine, softmax at a temperature, debiasing (paper eq. 1-2 and section 3.3).

Knows neither images nor the device. Each row is computed by itself, so that it does not depend on other rows.
"""

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from labeler_service.calibration import Calibration
from labeler_service.vocabulary import Vocabulary

Float32 = NDArray[np.float32]


class Output(Enum):
    """What a score row holds; the contract's ScoreOptions.Output."""

    PROBABILITIES = auto()
    COSINES = auto()


@dataclass(frozen=True, eq=False)
class Scoring:
    """How embeddings become score rows."""

    vocabulary: Vocabulary
    output: Output
    calibration: Calibration | None

    def score(self, embedding_D: Float32) -> Float32:
        """A unit embedding to one row, float32 (C,): cosines, probabilities, or debiased labels."""
        cosines_C: Float32 = self.vocabulary.embeddings @ embedding_D
        if self.output is Output.COSINES:
            return cosines_C
        probs_C = softmax(cosines_C / np.float32(self.vocabulary.temperature))
        return probs_C if self.calibration is None else self.calibration.apply(probs_C)


def softmax(logits_C: Float32) -> Float32:
    """Paper eq. 2, over the last axis."""
    exp_C = np.exp(logits_C - logits_C.max(axis=-1, keepdims=True))
    probs_C: Float32 = exp_C / exp_C.sum(axis=-1, keepdims=True)
    return probs_C
