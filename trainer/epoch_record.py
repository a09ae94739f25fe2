"""What an epoch comes to: the mean of each term of the loss, and the probabilities as they were while training."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EpochResult:
    """Means of the loss's terms over images, and each image's probabilities (N, C) in [0, 1] as they were while
    training."""

    losses: dict[str, float]
    probs: FloatArray


class EpochRecord:
    """Collects batches. On a GPU it looks at a batch only when the next one was given, so that the GPU never waits for
    the host to see a result before it gets more work; elsewhere at once."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        """shape: (N, C)."""
        self._probs_NC = np.full(shape, np.nan, np.float32)
        self._sums: Counter[str] = Counter()
        self._seen = 0
        self._late = 1 if device.type == "cuda" else 0
        self._pending: deque[_Pending] = deque()

    def add(self, indices: Tensor, names: Sequence[str], terms: Tensor, logits: Tensor) -> None:
        """indices: (B,) rows of the batch's images, on the host. terms: the loss's, in the order of names. logits:
        (B, C).

        Raises FloatingPointError when a loss is not finite: going on would only destroy the weights.
        """
        self._pending.append(_Pending(indices, names, terms, logits))
        while len(self._pending) > self._late:
            self._settle(self._pending.popleft())

    def _settle(self, batch: "_Pending") -> None:
        terms, probs_BC = batch.wait()
        loss = float(terms.sum())
        if not np.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} after {self._seen} images; a smaller --learning-rate helps")
        count = len(probs_BC)
        self._seen += count
        self._sums.update({name: count * term for name, term in zip(batch.names, terms.tolist(), strict=True)})
        self._probs_NC[batch.indices.numpy()] = probs_BC.numpy()

    @property
    def note(self) -> str:
        """A word on the loss so far."""
        return f"loss {sum(self._sums.values()) / self._seen:.4f}" if self._seen else ""

    def result(self) -> EpochResult:
        """Of the whole epoch, when its last batch was given."""
        while self._pending:
            self._settle(self._pending.popleft())
        assert np.isfinite(self._probs_NC).all(), "an image was missing from the epoch"
        return EpochResult({name: float(total) / self._seen for name, total in self._sums.items()}, self._probs_NC)


class _Pending:
    """A batch's results on their way to the host."""

    def __init__(self, indices: Tensor, names: Sequence[str], terms: Tensor, logits: Tensor) -> None:
        self.indices, self.names = indices, names
        probs_BC = logits.detach().float().sigmoid()
        self._terms, self._probs_BC = (tensor.to("cpu", non_blocking=True) for tensor in (terms.detach(), probs_BC))
        self._arrived = None
        if logits.device.type == "cuda":
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(logits.device))

    def wait(self) -> tuple[Tensor, Tensor]:
        """Terms of the loss, and probabilities (B, C)."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._terms, self._probs_BC
