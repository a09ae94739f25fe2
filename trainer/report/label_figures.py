"""Figures of labels that several sections share. Arrays only. N images, C classes."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# Share of a class's images that show another class too, from which on the two cannot be told apart by their labels.
MAX_TOGETHER = 0.8
# Fewer images than this say nothing about a class's company.
MIN_IMAGES = 5


class Pair(NamedTuple):
    """Of `images` images with class `first`, the share `together` has class `second` too."""

    first: int
    second: int
    together: float
    images: int


def together(given: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(C, C), row i and column j: of the images with label i, the share that has label j too; 0 where i has no image.

    given: (N, C).
    """
    counts_CC = given.T.astype(np.float64) @ given
    shares_CC: npt.NDArray[np.float64] = counts_CC / np.maximum(np.diag(counts_CC), 1)[:, None]
    return shares_CC


def inseparable(given: npt.NDArray[np.bool_]) -> list[Pair]:
    """The pairs over MAX_TOGETHER, the closest first. given: (N, C)."""
    shares_CC = together(given)
    np.fill_diagonal(shares_CC, 0)
    counts_C = given.sum(axis=0)
    shares_CC[counts_C < MIN_IMAGES] = 0
    pairs = [Pair(int(i), int(j), float(shares_CC[i, j]), int(counts_C[i]))
             for i, j in np.argwhere(shares_CC > MAX_TOGETHER)]  # fmt: skip
    return sorted(pairs, key=lambda pair: (-pair.together, pair.first, pair.second))


def same_first_choice(clip: FloatArray, classifier: FloatArray) -> float:
    """Share of images whose most probable class is the same for both, (N, C) each; NaN rows are passed over."""
    known = np.isfinite(clip).all(axis=1)
    if not known.any():
        return 0.0
    return float((clip[known].argmax(axis=1) == classifier[known].argmax(axis=1)).mean())


def debiased_means(
    clip: FloatArray, debiased: FloatArray, *, max_entropy: float, normalized: bool
) -> npt.NDArray[np.float64]:
    """(C,) the mean label of a class over the images that the class bias was measured on; NaN where there are none.

    clip: (N, C) raw probabilities, which say whose images these are. debiased: (N, C). Entropy in nats, or divided by
    ln C.
    """
    known = np.isfinite(clip).all(axis=1) & np.isfinite(debiased).all(axis=1)
    clip, debiased = clip[known], debiased[known]
    entropies_N = -(clip * np.log(np.maximum(clip, 1e-12))).sum(axis=1)
    if normalized:
        entropies_N = entropies_N / np.log(clip.shape[1])
    sure, first_N = entropies_N <= max_entropy, clip.argmax(axis=1)
    means_C = np.full(clip.shape[1], np.nan)
    for c in np.unique(first_N[sure]):
        means_C[c] = debiased[sure & (first_N == c), c].mean()
    return means_C
