"""What a method is told of the training images: all targets, a part of them, or CLIP's opinion of the whole image.

N images, C classes. Labels are (N, C) float32 in [0, 1], NaN where nothing is told.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trainer.clip_labels import global_probabilities
from trainer.data.seeds import RunStream
from trainer.labeling import Labeler
from trainer.session import Run

FloatArray = npt.NDArray[np.float32]

# Share of the classes, the least probable ones, that count as absent where certain negatives are wanted. The paper does
# not say which its partial-label row had.
CONFIDENT_NEGATIVES = 0.5


def told_labels(run: Run, labeler: Labeler) -> FloatArray:
    """Labels by the run's regime; the same however often they are asked for.

    Raises ValueError for a regime that takes them from targets where the data set has none.
    """
    regime, targets = run.config.labels, run.train.targets
    if regime in CLIP_LABELS:
        return CLIP_LABELS[regime](global_probabilities(run, labeler))
    if targets is None:
        raise ValueError(
            f"--method {run.config.method} learns from targets (--labels {regime}), and {run.data} has none"
        )
    if regime == "single_positive" and run.train.observed is not None:
        return np.where(run.train.observed == 1, 1, np.nan).astype(np.float32)
    rng = np.random.default_rng([run.config.seed, RunStream.TOLD_LABELS])
    if regime == "partial":
        return partial(targets, run.config.known_share, rng)
    return single_positive(targets, rng) if regime == "single_positive" else full(targets)


def full(targets: npt.NDArray[np.int8]) -> FloatArray:
    """Targets (1, 0, -1) as labels; an entry that the evaluation leaves out is not told."""
    return np.where(targets < 0, np.nan, targets).astype(np.float32)


def partial(targets: npt.NDArray[np.int8], share: float, rng: np.random.Generator) -> FloatArray:
    """Each entry with this probability, independently (HCP-MLR-PL's protocol)."""
    return np.where(rng.random(targets.shape) < share, full(targets), np.nan).astype(np.float32)


def single_positive(targets: npt.NDArray[np.int8], rng: np.random.Generator) -> FloatArray:
    """One positive of each image at random, and nothing else (Cole et al. 2021); nothing of an image without one."""
    ranks_NC = np.where(targets == 1, rng.random(targets.shape), -1)
    chosen_NC = (ranks_NC == ranks_NC.max(axis=1, keepdims=True)) & (targets == 1)
    return np.where(chosen_NC, 1, np.nan).astype(np.float32)


def top1(probs: FloatArray) -> FloatArray:
    """CLIP's most probable class alone; nothing of an image that CLIP rejected."""
    labels_NC = np.full_like(probs, np.nan)
    known_N = np.isfinite(probs).all(axis=1)
    labels_NC[known_N, probs[known_N].argmax(axis=1)] = 1
    return labels_NC


def confident(probs: FloatArray) -> FloatArray:
    """CLIP's most probable class as present, the less probable half of the classes as absent."""
    labels_NC = top1(probs)
    ranks_NC = probs.argsort(axis=1).argsort(axis=1)
    absent_NC = (ranks_NC < int(CONFIDENT_NEGATIVES * probs.shape[1])) & np.isfinite(probs)
    return np.where(absent_NC, 0, labels_NC).astype(np.float32)


CLIP_LABELS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "clip_soft": lambda probs: probs,
    "clip_top1": top1,
    "clip_confident": confident,
}
