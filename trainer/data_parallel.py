"""One training step on several processes that comes to what one process would get, but for rounding.

Each process runs the classifier on its share of the batch. What comes out is gathered, and each computes the loss of
the whole batch: so losses that are no means over images are right (pairs, the largest of a batch, counts), and what an
objective remembers of images is the same on every process. B images of a batch, C classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from trainer.data.sharding import Share
from trainer.distributed import peers_watched
from trainer.synchronised_batch_norm import SynchronisedBatchNorm


@dataclass
class DataParallel:
    """The steps of an epoch by the process that has this share of each batch; the whole of it changes nothing.

    Gradients are those of the sum of all processes' losses, which are the same, and their mean is what one would have.
    """

    share: Share
    _steps: int = 0

    @contextmanager
    def forward(self, device: torch.device) -> Iterator[None]:
        """Around the classifier's passes: batch norm counts the images of all processes, and what is random in the
        classifier (dropout, drop path) differs between them, while the objective's random numbers stay in step."""
        if self.share.size == 1:
            yield
            return
        self._steps += 1
        key = [torch.initial_seed(), self._steps, self.share.rank]
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
            with SynchronisedBatchNorm() if device.type == "cpu" else nullcontext():
                yield

    def gather(self, rows: Tensor, total: int) -> Tensor:
        """(B, ...) of the whole batch of `total` images, from each process's own rows, which get their gradient."""
        if self.share.size == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, total, self.share)
        return gathered

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Mean over processes, in place. All have gradients of the same parameters: the objective's way is the same on
        each."""
        if self.share.size == 1:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with peers_watched():
            dist.all_reduce(flat)
        flat /= self.share.size
        means = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Before the first step on several GPUs: torch's own layers, with the same parameters and buffers, in place. On a
    CPU there are none, and `DataParallel.forward` does it. Alone, and in evaluation, they are plain batch norm."""
    if device.type == "cuda":
        convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    """Rows of all processes, padded on the way to the largest share. The loss is the same on each process, so that the
    gradient of their sum is `size` times the one that is at hand; nothing has to be sent back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, total: int, share: Share) -> Tensor:
        ctx.share, ctx.total = share, total
        padded = rows.new_zeros(-(-total // share.size), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(share.size)]
        with peers_watched():
            dist.all_gather(parts, padded)
        bounds = [Share(rank, share.size).bounds(total) for rank in range(share.size)]
        return torch.cat([part[: stop - start] for part, (start, stop) in zip(parts, bounds, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        start, stop = ctx.share.bounds(ctx.total)
        return ctx.share.size * gradients[0][start:stop], None, None
