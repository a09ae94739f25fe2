"""Batch norm over the images of all processes on a CPU, for which torch has none (nn.SyncBatchNorm is for GPUs).

With the statistics of each share alone, small batches would train another classifier than one process does.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from trainer.distributed import peers_watched


class SynchronisedBatchNorm(TorchFunctionMode):
    """While it is active, every training-mode F.batch_norm, whichever layer calls it, counts all processes' images.

    All must make the same calls; one may have no image.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        if func is F.batch_norm and options.get("training"):
            return batch_norm(*args, **{name: value for name, value in options.items() if name != "training"})
        return func(*args, **options)


def batch_norm(
    images: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """F.batch_norm in training of (B, F, ...) by mean and variance over the images of all processes, in float32."""
    axes = [axis for axis in range(images.ndim) if axis != 1]
    shape = [1, -1] + [1] * (images.ndim - 2)
    values = images.float()
    own_count = values.new_tensor([values.numel() // values.shape[1]])
    sum_F, count = _total(torch.cat((values.sum(axes), own_count))).tensor_split([-1])
    if count == 1:  # as F.batch_norm does
        raise ValueError(f"batch norm needs more than 1 value per channel, got a batch of shape {tuple(images.shape)}")
    count = count.detach()
    mean_F = sum_F / count
    centred = values - mean_F.view(shape)
    var_F = _total(centred.square().sum(axes)) / count
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean_F, momentum)
        if running_var is not None:
            running_var.lerp_(var_F * count / (count - 1), momentum)
    scale_F = (var_F + eps).rsqrt() if weight is None else weight * (var_F + eps).rsqrt()
    normalised = centred * scale_F.view(shape)
    return (normalised if bias is None else normalised + bias.view(shape)).to(images.dtype)


def _total(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)
    return total


class _Sum(torch.autograd.Function):
    """Sum over processes; so is the gradient, since all of them depend on it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        with peers_watched():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        with peers_watched():
            dist.all_reduce(total)
        return total
