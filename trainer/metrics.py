"""Average precision of multi-label scores. Knows arrays only: no data set, no model."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

AveragePrecision = Literal["sklearn", "voc"]


def average_precisions(
    scores: ArrayLike, targets: ArrayLike, *, kind: AveragePrecision = "sklearn"
) -> NDArray[np.float64]:
    """(C,) average precision in [0, 1] of each class.

    scores: (N, C), any finite numbers; logits are better than saturated probabilities, whose ties cost precision.
    targets: (N, C), 1 present, 0 absent, -1 left out.
    kind: "sklearn" is the un-interpolated sum of (R_n - R_{n-1}) P_n, which the paper's code uses; "voc" first makes
    precision monotone from the right, as Pascal VOC has done since 2010, and is never lower.
    A class without a positive has 0.
    """
    scores_NC, targets_NC = np.asarray(scores, np.float64), np.asarray(targets)
    if scores_NC.shape != targets_NC.shape:
        raise ValueError(f"scores {scores_NC.shape} and targets {targets_NC.shape} must have one shape")
    measure = average_precision_score if kind == "sklearn" else _voc_average_precision
    precisions_C = np.zeros(scores_NC.shape[1])
    for c, (scores_N, targets_N) in enumerate(zip(scores_NC.T, targets_NC.T, strict=True)):
        known_N = targets_N >= 0
        if (targets_N == 1).any():
            precisions_C[c] = measure(targets_N[known_N], scores_N[known_N])
    return precisions_C


def mean_average_precision(scores: ArrayLike, targets: ArrayLike, *, kind: AveragePrecision = "sklearn") -> float:
    """Mean over all classes, in percent; a class without a positive counts 0, as in the paper's code."""
    return 100 * float(average_precisions(scores, targets, kind=kind).mean())


def _voc_average_precision(targets_N: NDArray[np.int_], scores_N: NDArray[np.float64]) -> float:
    precision, recall, _ = precision_recall_curve(targets_N, scores_N)  # by falling recall
    return float(-np.sum(np.diff(recall) * np.maximum.accumulate(precision)[:-1]))
