"""One epoch of training and one pass of prediction; knows tensors and batches, no files and no labeler.

Shapes: N images, B batch, C classes, h w cells of a CAM.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer import distributed
from trainer.config import RunConfig
from trainer.data.loader import Batch
from trainer.data.sharding import WHOLE
from trainer.data_parallel import DataParallel
from trainer.model import Classifier
from trainer.objective import Objective, Step
from trainer.progress import Advance

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Machine:
    """Where the classifier runs and in which precision."""

    device: torch.device
    precision: torch.dtype

    @classmethod
    def choose(cls, config: RunConfig) -> "Machine":
        """Raises ValueError when the wanted device is not there."""
        name = config.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"--device {name}: torch sees no CUDA device; use --device cpu")
        device = distributed.own_device(name)
        half = config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda")
        return cls(device, torch.bfloat16 if half else torch.float32)

    def autocast(self) -> AbstractContextManager[object]:
        if self.precision is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    def put(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    def put_images(self, images: Tensor) -> Tensor:
        """channels_last is what convolutions are fastest in, on CUDA tensor cores and with oneDNN alike."""
        return images.to(self.device, non_blocking=True, memory_format=torch.channels_last)


@dataclass(frozen=True)
class EpochResult:
    """Means of the loss's terms over images, and each image's probabilities (N, C) in [0, 1] as they were while
    training."""

    losses: dict[str, float]
    probs: FloatArray


def train_one_epoch(
    model: Classifier,
    objective: Objective,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    machine: Machine,
    *,
    labels: FloatArray,
    rows: npt.NDArray[np.int64],
    parallel: DataParallel | None = None,
    advance: Advance,
) -> EpochResult:
    """One pass over the training images, whose labels are (N, C) and whose places among all images are `rows` (N,).

    Batches bring a strong view where the objective wants one, and this process's share of the images where several
    train in `parallel`; the result is that of all on each. Raises FloatingPointError when the loss stops being finite:
    going on would only destroy the weights.
    """
    parallel = parallel or DataParallel(WHOLE)
    model.train()
    labels_NC, rows_N = torch.from_numpy(labels), torch.from_numpy(rows)
    probs_NC = np.full(labels.shape, np.nan, np.float32)
    sums: Counter[str] = Counter()
    seen = 0
    for batch in batches:
        count = len(batch.indices)
        with machine.autocast(), parallel.forward(machine.device):
            logits_BC, features = model(machine.put_images(batch.weak))
            strong_BC = None if batch.strong is None else model(machine.put_images(batch.strong))[0].float()
        logits_BC, features = parallel.gather(logits_BC, count), parallel.gather(features, count)
        strong_BC = None if strong_BC is None else parallel.gather(strong_BC, count)
        target_BC, rows_B = machine.put(labels_NC[batch.indices]), machine.put(rows_N[batch.indices])
        terms = objective(Step(logits_BC.float(), strong_BC, features, target_BC, rows_B))
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} after {seen} images; a smaller --learning-rate helps")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parallel.average_gradients(p for group in optimizer.param_groups for p in group["params"])
        optimizer.step()
        seen += count
        sums.update({name: count * term.item() for name, term in terms.items()})
        probs_NC[batch.indices.numpy()] = logits_BC.detach().float().sigmoid().cpu().numpy()
        advance(count, f"loss {sum(sums.values()) / seen:.4f}")
    assert np.isfinite(probs_NC).all(), "an image was missing from the epoch"
    return EpochResult({name: float(total) / seen for name, total in sums.items()}, probs_NC)


@torch.inference_mode()
def predict(
    model: Classifier, batches: Iterable[Batch], machine: Machine
) -> Iterator[tuple[npt.NDArray[np.int64], FloatArray, FloatArray]]:
    """Yields (indices (B,), logits (B, C), CAMs (B, C, h, w)) per batch, as float32; only one batch is in memory."""
    model.eval()
    for batch in batches:
        with machine.autocast():
            logits_BC, cams_BChw = model(machine.put_images(batch.weak))
        yield batch.indices.numpy(), logits_BC.float().cpu().numpy(), cams_BChw.float().cpu().numpy()


def predict_logits(
    model: Classifier, batches: Iterable[Batch], machine: Machine, *, num_images: int, advance: Advance
) -> FloatArray:
    """Logits (N, C) float32 of all images, in their order."""
    parts = []
    for indices, logits_BC, _ in predict(model, batches, machine):
        parts.append((indices, logits_BC))
        advance(len(indices))
    return in_order(parts, num_images)


def in_order(parts: Sequence[tuple[npt.NDArray[np.int64], FloatArray]], num_images: int) -> FloatArray:
    """Rows (N, C) in the order of the images, from batches of indices (B,) and rows (B, C) in any order."""
    order = np.concatenate([indices for indices, _ in parts])
    assert (np.sort(order) == np.arange(num_images)).all(), "evaluation must see each image exactly once"
    return np.concatenate([rows for _, rows in parts])[np.argsort(order)]
