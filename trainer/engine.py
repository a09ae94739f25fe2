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
from trainer.losses import bce, consistency
from trainer.model import CamClassifier
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
        device = torch.device(name)
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
    """Means of the losses over images, and each image's probabilities (N, C) in [0, 1] as they were while training."""

    label_loss: float
    consistency_loss: float
    probs: FloatArray


def train_one_epoch(
    model: CamClassifier,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    machine: Machine,
    *,
    labels: FloatArray,
    image_weights: FloatArray | None,
    beta: float,
    advance: Advance,
) -> EpochResult:
    """One pass over the training images: BCE to the labels (N, C) + beta x consistency (paper eq. 8).

    `image_weights` (N,) weighs each image's label loss. Batches bring a strong view when beta is positive. Raises
    FloatingPointError when the loss stops being finite: going on would only destroy the weights.
    """
    model.train()
    labels_NC = torch.from_numpy(labels)
    weights_N = None if image_weights is None else torch.from_numpy(image_weights)
    probs_NC = np.full(labels.shape, np.nan, np.float32)
    sums = np.zeros(2)
    seen = 0
    for batch in batches:
        target_BC = machine.put(labels_NC[batch.indices])
        weights_B = None if weights_N is None else machine.put(weights_N[batch.indices])
        with machine.autocast():
            logits_BC, _ = model(machine.put_images(batch.weak))
            strong_BC = None if batch.strong is None else model(machine.put_images(batch.strong))[0]
        label_loss = bce(logits_BC.float(), target_BC, weights_B)
        consistency_loss = (
            logits_BC.new_zeros(()) if strong_BC is None else consistency(strong_BC.float(), logits_BC.float())
        )
        loss = label_loss + beta * consistency_loss
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} after {seen} images; a smaller --learning-rate helps")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        count = len(batch.indices)
        seen += count
        sums += count * np.array([label_loss.item(), consistency_loss.item()])
        probs_NC[batch.indices.numpy()] = logits_BC.detach().float().sigmoid().cpu().numpy()
        advance(count, f"loss {sums.sum() / seen:.4f}")
    assert np.isfinite(probs_NC).all(), "an image was missing from the epoch"
    label_mean, consistency_mean = sums / seen
    return EpochResult(float(label_mean), float(consistency_mean), probs_NC)


@torch.inference_mode()
def predict(
    model: CamClassifier, batches: Iterable[Batch], machine: Machine, *, advance: Advance
) -> Iterator[tuple[npt.NDArray[np.int64], FloatArray, FloatArray]]:
    """Yields (indices (B,), logits (B, C), CAMs (B, C, h, w)) per batch, as float32; only one batch is in memory."""
    model.eval()
    for batch in batches:
        with machine.autocast():
            logits_BC, cams_BChw = model(machine.put_images(batch.weak))
        advance(len(batch.indices))
        yield batch.indices.numpy(), logits_BC.float().cpu().numpy(), cams_BChw.float().cpu().numpy()


def predict_logits(
    model: CamClassifier, batches: Iterable[Batch], machine: Machine, *, num_images: int, advance: Advance
) -> FloatArray:
    """Logits (N, C) float32 of all images, in their order."""
    parts = [(indices, logits) for indices, logits, _ in predict(model, batches, machine, advance=advance)]
    order = np.concatenate([indices for indices, _ in parts])
    assert (np.sort(order) == np.arange(num_images)).all(), "evaluation must see each image exactly once"
    return np.concatenate([logits for _, logits in parts])[np.argsort(order)]
