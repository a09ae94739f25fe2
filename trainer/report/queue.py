"""In which order a person should look at the images: where the classifier is unsure, and where it and the labels
disagree. Arrays only. N images, C classes."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

Reason = Literal["uncertain", "disputed"]


class ReviewRow(NamedTuple):
    """Image `image` should be looked at for `reason`, which is about class `class_index`. Of two rows with the same
    reason the one with the higher `score`, in [0, 1], goes first."""

    image: int
    reason: Reason
    class_index: int
    score: float


def review_order(clip: FloatArray | None, classifier: FloatArray, final: FloatArray | None) -> list[ReviewRow]:
    """Each image once, most uncertain and most disputed in turn.

    clip, classifier, final: (N, C) probabilities in [0, 1]; images of NaN in one of them are left out. Uncertain: the
    mean binary entropy of the classifier's probabilities, in bits. Disputed: the largest difference, over classes,
    between the classifier and the label, or CLIP's opinion where there are no labels.
    """
    opinion = clip if final is None else final
    given = [rows for rows in (classifier, opinion) if rows is not None]
    known = np.flatnonzero(np.all([np.isfinite(rows).all(axis=1) for rows in given], axis=0))
    uncertain = _ranked(known, _entropies(classifier[known]), "uncertain")
    if opinion is None:
        return uncertain
    disputed = _ranked(known, np.abs(classifier[known] - opinion[known]), "disputed")
    return _in_turn(uncertain, disputed)


def _entropies(probs: FloatArray) -> FloatArray:
    """(N, C) binary entropy in bits, in [0, 1]."""
    probs = probs.clip(1e-7, 1 - 1e-7)
    return np.asarray(-(probs * np.log2(probs) + (1 - probs) * np.log2(1 - probs)), np.float32)


def _ranked(images: npt.NDArray[np.int64], scores_NC: FloatArray, reason: Reason) -> list[ReviewRow]:
    """By the mean over classes if uncertain, by the largest if disputed; the class is the one that counts most."""
    scores_N = scores_NC.mean(axis=1) if reason == "uncertain" else scores_NC.max(axis=1)
    order = np.argsort(-scores_N, kind="stable")
    classes_N = scores_NC.argmax(axis=1)
    return [ReviewRow(int(images[i]), reason, int(classes_N[i]), float(scores_N[i])) for i in order]


def _in_turn(first: list[ReviewRow], second: list[ReviewRow]) -> list[ReviewRow]:
    seen: set[int] = set()
    rows = []
    for row in (row for pair in zip(first, second, strict=True) for row in pair):
        if row.image not in seen:
            seen.add(row.image)
            rows.append(row)
    return rows
