"""Which images a person should look at first: the most uncertain and the most disputed ones. Knows arrays only.

N images, C classes.
"""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.uncertainty import entry_uncertainties, mean_entropies

FloatArray = NDArray[np.floating]
Reason = Literal["uncertain", "disputed"]


@dataclass(frozen=True)
class ReviewRow:
    """One image to look at: its place among the N, why, because of which class, and how much so, in [0, 1]."""

    image: int
    reason: Reason
    class_index: int
    score: float


def review_order(
    clip: FloatArray, classifier: FloatArray | None, labels: FloatArray, *, skip: NDArray[np.bool_] | None = None
) -> list[ReviewRow]:
    """Every image once, the one that most needs a person's eye first.

    clip: (N, C) in [0, 1], CLIP's debiased labels of whole images. classifier: (N, C) in [0, 1], the trained
    classifier's probabilities; None before there is one. labels: (N, C) in [0, 1], the final labels. A row of NaN has
    no labels and is left out, and so are the images of `skip` (N,), which a person has reviewed.

    Two rankings take turns, and an image stands where the first of them puts it. Uncertain: the label nearest to 1/2,
    score 1 - 2 |p - 1/2|, of equals the one whose labels have the higher mean entropy. Disputed: the largest
    |CLIP - classifier|; not ranked without a classifier. Taking turns needs no exchange rate between the two scores.
    """
    images = np.flatnonzero(np.isfinite(labels).all(axis=1) & (True if skip is None else ~skip))
    uncertain = _ranked(images, entry_uncertainties(labels[images]), mean_entropies(labels[images]), "uncertain")
    disputed = []
    if classifier is not None:
        disputes = np.nan_to_num(np.abs(clip[images] - classifier[images]))
        disputed = _ranked(images, disputes, disputes.mean(axis=1), "disputed")
    first: dict[int, ReviewRow] = {}
    for pair in zip_longest(uncertain, disputed):
        for row in pair:
            if row is not None:
                first.setdefault(row.image, row)
    return list(first.values())


def _ranked(images: NDArray[np.int64], scores: FloatArray, equals: FloatArray, reason: Reason) -> list[ReviewRow]:
    """The images by their highest score (n, C), of equal ones by `equals` (n,), then by place."""
    if not len(images):
        return []
    highest, classes = scores.max(axis=1), scores.argmax(axis=1)
    order = np.lexsort((images, -equals, -highest))
    return [ReviewRow(int(images[i]), reason, int(classes[i]), float(highest[i])) for i in order]
