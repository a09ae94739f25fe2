"""Figures of multi-label predictions: average precision, F1, calibration. Knows arrays only: no data set, no model."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

AveragePrecision = Literal["sklearn", "voc"]
Predicted = Literal["half", "top3"]

# Equal bins of [0, 1] in a reliability diagram (Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 2).
CALIBRATION_BINS = 15


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
    scores_NC, targets_NC = _pair(scores, targets)
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


def f1_scores(logits: ArrayLike, targets: ArrayLike, *, predicted: Predicted = "half") -> tuple[float, float]:
    """CF1 and OF1 in [0, 1]: F1 of precision and recall averaged over classes, and of those over all entries.

    logits: (N, C). targets: (N, C), 1 present, 0 absent, -1 left out.
    predicted: "half" is every class of probability 0.5 or more, "top3" the three most probable ones of each image.
    Precision where nothing is predicted is 0, as in the code of ML-GCN (https://arxiv.org/abs/1904.03582, section 4.1),
    and so is recall where nothing is present. CF1 is not the mean of the classes' F1.
    """
    logits_NC, targets_NC = _pair(logits, targets)
    present_NC, known_NC = targets_NC == 1, targets_NC >= 0
    if predicted == "half":
        predicted_NC = known_NC & (logits_NC >= 0)
    else:
        predicted_NC = known_NC & _three_highest(np.where(known_NC, logits_NC, -np.inf))
    counts = [entries.sum(axis=0) for entries in (predicted_NC & present_NC, predicted_NC, present_NC)]
    return _f1(*counts), _f1(*(count.sum(keepdims=True) for count in counts))


def expected_calibration_error(logits: ArrayLike, targets: ArrayLike) -> float:
    """How far probabilities are from the share of entries that are present, in [0, 1]; 0 is perfectly calibrated.

    logits: (N, C). targets: (N, C), 1 present, 0 absent, -1 left out.
    Every known entry is one binary prediction: they fall into 15 equal bins of their probability, and the bins'
    |mean probability - share present| are averaged by their number of entries (Guo et al. 2017, eq. 3, but that
    the probability is that of "present").
    """
    logits_NC, targets_NC = _pair(logits, targets)
    known_NC = targets_NC >= 0
    probs = np.exp(-np.logaddexp(0, -logits_NC[known_NC]))  # the sigmoid, without overflow
    bins = np.minimum(probs * CALIBRATION_BINS, CALIBRATION_BINS - 1).astype(np.int64)
    gaps = np.bincount(bins, weights=probs - targets_NC[known_NC])
    return float(np.abs(gaps).sum() / len(probs))


def classification_figures(logits: ArrayLike, targets: ArrayLike) -> dict[str, float]:
    """The figures beside mAP, in percent, by the names that summary.json has; logits and targets as above."""
    cf1, of1 = f1_scores(logits, targets)
    cf1_top3, of1_top3 = f1_scores(logits, targets, predicted="top3")
    shares = {
        "cf1": cf1,
        "of1": of1,
        "cf1_top3": cf1_top3,
        "of1_top3": of1_top3,
        "calibration_error": expected_calibration_error(logits, targets),
    }
    voc_map = mean_average_precision(logits, targets, kind="voc")
    return {"voc_map": voc_map} | {name: 100 * share for name, share in shares.items()}


def _pair(scores: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    scores_NC, targets_NC = np.asarray(scores, np.float64), np.asarray(targets, np.int_)
    if scores_NC.shape != targets_NC.shape:
        raise ValueError(f"scores {scores_NC.shape} and targets {targets_NC.shape} must have one shape")
    return scores_NC, targets_NC


def _three_highest(scores_NC: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N, C) True at each row's three highest entries, of equal ones the first."""
    highest_NC = np.zeros(scores_NC.shape, bool)
    np.put_along_axis(highest_NC, np.argsort(-scores_NC, axis=1, kind="stable")[:, :3], True, axis=1)
    return highest_NC


def _f1(correct: NDArray[np.int_], predicted: NDArray[np.int_], present: NDArray[np.int_]) -> float:
    """F1 of mean precision and mean recall of groups of entries, whose counts are given as (G,)."""
    precision, recall = (
        np.divide(correct, counts, out=np.zeros(len(correct)), where=counts > 0).mean()
        for counts in (predicted, present)
    )
    return float(2 * precision * recall / (precision + recall)) if correct.any() else 0.0


def _voc_average_precision(targets_N: NDArray[np.int_], scores_N: NDArray[np.float64]) -> float:
    precision, recall, _ = precision_recall_curve(targets_N, scores_N)  # by falling recall
    return float(-np.sum(np.diff(recall) * np.maximum.accumulate(precision)[:-1]))
