"""Class bias of CLIP (paper section 3.3): statistics that merge exactly, the bias, and debiased labels. Numpy only.

N rows, C classes.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# float64 sums of multiples of 2^-35 are exact up to 2^18 = 262,144 rows of one class, in any order.
QUANTUM = 2.0**-35
# Softmax rows of float32 sum to 1 within about 1e-6.
ROW_SUM_TOLERANCE = 1e-3


def check_range(probs_NC: Float32) -> None:
    """Raises ValueError unless all values lie in [0, 1]; written so that NaN fails too."""
    if not ((probs_NC >= 0) & (probs_NC <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]")


@dataclass(frozen=True)
class EntropyGate:
    """Which rows count as single-label images (step 2): entropy at most `max_entropy`, in nats, or as a share of ln(C)
    when `normalized`."""

    max_entropy: float
    normalized: bool

    def __post_init__(self) -> None:
        if not self.max_entropy >= 0:
            raise ValueError(f"max_entropy must not be negative, got {self.max_entropy}")

    def passes(self, probs_NC: Float64) -> NDArray[np.bool_]:
        """(N,), True for rows that count."""
        log_NC = np.log(probs_NC, out=np.zeros_like(probs_NC), where=probs_NC > 0)
        limit = self.max_entropy * np.log(probs_NC.shape[1]) if self.normalized else self.max_entropy
        mask_N: NDArray[np.bool_] = -(probs_NC * log_NC).sum(axis=1) <= limit
        return mask_N


@dataclass(frozen=True, eq=False)
class BiasStatistics:
    """Per class the sum of top-1 probabilities, float64 (C,), and the number of rows, int64 (C,), that passed the gate
    with that class on top; `num_rows` counts all rows. Statistics of disjoint rows add up."""

    sums: Float64
    counts: NDArray[np.int64]
    num_rows: int

    def __post_init__(self) -> None:
        if self.sums.shape != self.counts.shape:
            raise ValueError(f"statistics have {len(self.sums)} sums and {len(self.counts)} counts")
        seen = (self.sums > 0) & (self.sums <= self.counts)  # False for NaN.
        unseen = (self.sums == 0) & (self.counts == 0)
        if not (seen | unseen).all() or self.counts.sum() > self.num_rows:
            raise ValueError("statistics need 0 < sum <= count, or both 0, for each class, and at least as many rows")

    @classmethod
    def of(cls, probs_NC: Float32, gate: EntropyGate) -> Self:
        """Steps 2 to 4 on rows in [0, 1] that sum to 1. Raises ValueError for others."""
        check_range(probs_NC)
        probs64_NC = probs_NC.astype(np.float64)
        if (np.abs(probs64_NC.sum(axis=1) - 1) > ROW_SUM_TOLERANCE).any():
            raise ValueError(f"each row of probabilities must sum to 1 within {ROW_SUM_TOLERANCE}")
        single_NC = probs64_NC[gate.passes(probs64_NC)]
        num_classes = probs_NC.shape[1]
        classes_N = single_NC.argmax(axis=1)
        tops_N = np.rint(single_NC.max(axis=1, initial=0) / QUANTUM) * QUANTUM
        return cls(
            np.bincount(classes_N, weights=tops_N, minlength=num_classes).astype(np.float64),
            np.bincount(classes_N, minlength=num_classes),
            len(probs_NC),
        )

    def __add__(self, other: Self) -> Self:
        if self.sums.shape != other.sums.shape:
            raise ValueError(f"statistics are of {len(self.sums)} and of {len(other.sums)} classes")
        return type(self)(self.sums + other.sums, self.counts + other.counts, self.num_rows + other.num_rows)

    def bias(self) -> Float32:
        """(C,) in (0, 1]. A class that was never on top has the mean of the others; if none was, all are 1."""
        seen_C = self.counts > 0
        if not seen_C.any():
            return np.ones(len(self.counts), dtype=np.float32)
        bias_C = np.divide(self.sums, self.counts, out=np.zeros_like(self.sums), where=seen_C)
        bias_C[~seen_C] = bias_C[seen_C].mean()
        return bias_C.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Debiasing: max(p, floor) / bias, at most 1 when `clamp` is set. Floor and clamp are those of the paper's released
    code (k0u-id/CCD)."""

    bias: Float32
    floor: float
    clamp: bool

    def __post_init__(self) -> None:
        if not ((self.bias > 0) & (self.bias <= 1)).all():
            raise ValueError("bias must lie in (0, 1]")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor must lie in [0, 1], got {self.floor}")

    def apply(self, probs_NC: Float32) -> Float32:
        """Probabilities in [0, 1], float32 (N, C) or (C,), to labels of that shape."""
        labels_NC: Float32 = np.divide(np.maximum(probs_NC, np.float32(self.floor)), self.bias, dtype=np.float32)
        return np.minimum(labels_NC, np.float32(1)) if self.clamp else labels_NC
