"""From which score a class counts as present, class by class, without labels: four rules to choose from.

Nothing applies them silently: files keep all scores, and say which rule made the labels beside them.
N images, C classes. Scores are (N, C) in [0, 1], a row of NaN where there is none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

FloatArray = NDArray[np.floating]

Rule = Literal["fixed", "prior", "otsu", "reviewed"]
RULES: tuple[Rule, ...] = get_args(Rule)

FIXED = 0.5
# With fewer, the F1 of a class that one image in ten shows would rest on less than five positives.
FEWEST_REVIEWED = 50
# Bins of the histogram that Otsu's method splits, one for each grey level in the original (Otsu 1979).
OTSU_BINS = 256


@dataclass(frozen=True)
class Evidence:
    """What the rules look at. scores: (N, C). expected: (C,) how many images show the class, see `expected_counts`.
    reviewed: (N, C) 1 present, 0 absent by a person's word, -1 where nobody said anything; scores must not have
    learned from it."""

    scores: FloatArray
    expected: FloatArray
    reviewed: NDArray[np.int8]


def thresholds(rule: Rule, evidence: Evidence) -> NDArray[np.float64]:
    """(C,) in [0, 1]: a class is present where its score is at least its threshold.

    Raises ValueError for the rule "reviewed" with fewer than 50 reviewed images.
    """
    known = np.isfinite(evidence.scores).all(axis=1)
    seen = Evidence(evidence.scores[known].astype(np.float64), evidence.expected, evidence.reviewed[known])
    found = _RULES[rule](seen)
    assert ((found >= 0) & (found <= 1)).all(), (rule, found)
    return found


def expected_counts(probs: FloatArray, bias: FloatArray) -> NDArray[np.float64]:
    """(C,) how many images CLIP expects to show each class: the sum over images of min(p / bias, 1).

    probs: (N, C), CLIP's raw probabilities of whole images, a row of NaN where there is none; bias: (C,) in (0, 1].
    Sums of probabilities estimate a class's share better than counts of decisions (Bella et al. 2010,
    https://doi.org/10.1109/ICDM.2010.75, "probability average"). Without the floor of the labels, which would add
    floor / bias of an image for every image that does not show the class.
    """
    known = probs[np.isfinite(probs).all(axis=1)].astype(np.float64)
    expected: NDArray[np.float64] = np.minimum(known / bias, 1).sum(axis=0)
    return expected


def fixed(evidence: Evidence) -> NDArray[np.float64]:
    """1/2 for every class."""
    return np.full(evidence.scores.shape[1], FIXED)


def prior_matching(evidence: Evidence) -> NDArray[np.float64]:
    """As many images over the threshold as CLIP expects to show the class, as nearly as ties allow; the higher one of
    two that are equally near. At least one image is over it."""
    return np.array([_match(s, n) for s, n in zip(evidence.scores.T, evidence.expected, strict=True)])


def _match(scores: FloatArray, expected: float) -> float:
    if not len(scores):
        return FIXED
    values, counts = np.unique(scores, return_counts=True)
    over = np.cumsum(counts[::-1])  # over[i]: images of at least the i-th highest value
    return float(values[::-1][np.argmin(np.abs(over - expected))])


def otsu(evidence: Evidence) -> NDArray[np.float64]:
    """Where the histogram of a class's scores falls into two groups with the most variance between them
    (Otsu 1979, https://doi.org/10.1109/TSMC.1979.4310076); 1/2 where all scores are in one bin."""
    return np.array([_otsu(scores) for scores in evidence.scores.T])


def _otsu(scores: FloatArray) -> float:
    counts, edges = np.histogram(scores, bins=OTSU_BINS, range=(0, 1))
    centres = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts)[:-1], counts.sum()
    sums, whole = np.cumsum(counts * centres)[:-1], (counts * centres).sum()
    split = (below > 0) & (below < total)
    if not split.any():
        return FIXED
    between = np.full(OTSU_BINS - 1, -1.0)
    between[split] = (whole * below[split] / total - sums[split]) ** 2 / (below[split] * (total - below[split]))
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))  # equal over every empty bin between the groups
    return float((edges[1:][best[0]] + edges[1:][best[-1]]) / 2)


def reviewed(evidence: Evidence) -> NDArray[np.float64]:
    """The threshold with the highest F1 on the images that a person reviewed, half-way to the next lower score; 1/2 for
    a class of which no reviewed image is present."""
    count = int((evidence.reviewed >= 0).any(axis=1).sum())
    if count < FEWEST_REVIEWED:
        raise ValueError(
            f"--thresholds reviewed needs {FEWEST_REVIEWED} reviewed images, and there are {count}: "
            "see `ccd review RUN` and `ccd review RUN --apply FILE`"
        )
    pairs = zip(evidence.scores.T, evidence.reviewed.T, strict=True)
    return np.array([_best_f1(scores[said >= 0], said[said >= 0]) for scores, said in pairs])


def _best_f1(scores: FloatArray, present: NDArray[np.int8]) -> float:
    if not (present == 1).any():
        return FIXED
    precision, recall, values = precision_recall_curve(present, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1[:-1]))  # the last point has no threshold
    lower = values[best - 1] if best else values[best]
    return float((values[best] + lower) / 2)


_RULES: Mapping[Rule, Callable[[Evidence], NDArray[np.float64]]] = {
    "fixed": fixed,
    "prior": prior_matching,
    "otsu": otsu,
    "reviewed": reviewed,
}
