"""One epoch of training and one pass of prediction; knows tensors and batches, no files and no labeler.

Shapes: N images, B batch, C classes, h w cells of a CAM.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.config import RunConfig
from trainer.data.loader import Batch
from trainer.data.upload import on_device
from trainer.epoch_record import EpochRecord, EpochResult
from trainer.model import Classifier
from trainer.objective import Objective, Step
from trainer.progress import Advance
from trainer.updates import Updates

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Machine:
    """Where the classifier runs and in which precision."""

    device: torch.device
    precision: torch.dtype

    @classmethod
    def choose(cls, config: RunConfig) -> "Machine":
        """Raises ValueError when the wanted device is not there, or cannot compute in the wanted precision."""
        name = config.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"--device {name}: torch sees no CUDA device; use --device cpu")
        device = torch.device(name)
        precision = config.precision
        if precision == "auto":
            precision = "bfloat16" if device.type == "cuda" else "float32"
        if precision == "float16" and device.type == "cpu":
            raise ValueError("--precision float16 is for GPUs; on a CPU use --precision bfloat16 or float32")
        return cls(device, getattr(torch, precision))

    def autocast(self) -> AbstractContextManager[object]:
        if self.precision is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    def put(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps float16's gradients in its range; does nothing in another precision."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)


def train_one_epoch(
    model: Classifier,
    objective: Objective,
    batches: Iterable[Batch],
    updates: Updates,
    machine: Machine,
    *,
    labels: FloatArray,
    rows: npt.NDArray[np.int64],
    advance: Advance,
) -> EpochResult:
    """One pass over the training images, whose labels are (N, C) and whose places among all images are `rows` (N,).

    Batches bring a strong view where the objective wants one. Raises FloatingPointError when the loss stops being
    finite.
    """
    model.train()
    labels_NC, rows_N = torch.from_numpy(labels), torch.from_numpy(rows)
    record = EpochRecord(labels.shape, machine.device)
    for batch in on_device(batches, machine.device):
        with machine.autocast():
            logits_BC, features = model(batch.weak)
            strong_BC = None if batch.strong is None else model(batch.strong)[0].float()
        target_BC, rows_B = machine.put(labels_NC[batch.indices]), machine.put(rows_N[batch.indices])
        terms = objective(Step(logits_BC.float(), strong_BC, features, target_BC, rows_B))
        values = torch.stack(list(terms.values()))
        record.add(batch.indices, list(terms), values, logits_BC)
        updates.add(values.sum(), len(batch.indices))
        advance(len(batch.indices), record.note)
    updates.finish()
    return record.result()


@torch.inference_mode()
def predict(
    model: Classifier, batches: Iterable[Batch], machine: Machine, *, advance: Advance
) -> Iterator[tuple[npt.NDArray[np.int64], FloatArray, FloatArray]]:
    """Yields (indices (B,), logits (B, C), CAMs (B, C, h, w)) per batch, as float32; only one batch is in memory."""
    model.eval()
    for batch in on_device(batches, machine.device):
        with machine.autocast():
            logits_BC, cams_BChw = model(batch.weak)
        advance(len(batch.indices))
        yield batch.indices.numpy(), logits_BC.float().cpu().numpy(), cams_BChw.float().cpu().numpy()


def predict_logits(
    model: Classifier, batches: Iterable[Batch], machine: Machine, *, num_images: int, advance: Advance
) -> FloatArray:
    """Logits (N, C) float32 of all images, in their order."""
    parts = [(indices, logits) for indices, logits, _ in predict(model, batches, machine, advance=advance)]
    order = np.concatenate([indices for indices, _ in parts])
    assert (np.sort(order) == np.arange(num_images)).all(), "evaluation must see each image exactly once"
    return np.concatenate([logits for _, logits in parts])[np.argsort(order)]
