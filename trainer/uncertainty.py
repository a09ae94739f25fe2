"""How unsure multi-label probabilities are, as one number in [0, 1] of each image. N images, C classes."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def entry_uncertainties(probs: FloatArray) -> FloatArray:
    """(N, C) in [0, 1]: 1 where the probability is 1/2, 0 where it is 0 or 1. probs: (N, C) in [0, 1]; NaN stays."""
    uncertainties: FloatArray = 1 - 2 * np.abs(probs - 0.5)
    return uncertainties


def mean_entropies(probs: FloatArray) -> FloatArray:
    """(N,) in [0, 1]: binary entropy in bits, mean over the classes. probs: (N, C) in [0, 1]; NaN stays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(p == 0, 0, -p * np.log2(p)) for p in (probs, 1 - probs)]
    entropies: FloatArray = (terms[0] + terms[1]).mean(axis=1)
    return entropies
