"""Which classes of an image get a local view: those the classifier gives at least a threshold (paper section 3.2).

The paper prints 0.5 and also "a fixed threshold that ensures appropriate average number of classes"; the two functions
that look for such a threshold are the released code's search and an exact one. N images, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Probs = NDArray[np.floating[Any]]


def select_classes(probs: Probs, threshold: float) -> NDArray[np.int64]:
    """Indices, rising, of the classes of one image with a probability of at least the threshold. probs: (C,)."""
    return np.flatnonzero(probs >= threshold)


def threshold_for_mean_views(probs: Probs, mean_views: float) -> float:
    """The threshold that makes the mean number of views per image closest to mean_views; the higher one of two.

    probs: (N, C). The paper's best mean is 10 of VOC's 20 classes (fig. 6a).
    """
    values, counts = np.unique(probs, return_counts=True)
    views = np.cumsum(counts[::-1])  # views[i]: entries that are at least the i-th highest value
    best = np.argmin(np.abs(views - mean_views * len(probs)))
    return float(values[::-1][best])


def search_threshold(
    probs: Probs,
    *,
    start: float = 0.05,
    step: float = 0.001,
    window: int = 100,
    band: tuple[float, float] = (4, 6),
) -> float:
    """The released code's search: raise the threshold after each window of images until the window's mean number of
    views lies strictly inside the band; the last threshold where that never happens.

    probs: (N, C), rows in random order. As released, the first window holds one image more than its mean is divided
    by, and images after the last whole window are not looked at.
    """
    threshold = start
    begin = 0
    for end in range(window + 1, len(probs) + 1, window):
        mean_views = np.count_nonzero(probs[begin:end] >= threshold) / window
        if band[0] < mean_views < band[1]:
            break
        threshold += step
        begin = end
    return threshold
