"""One optimiser step for every so many batches, and what moves with it: the loss scale and the averaged weights."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


class WeightAverage(AveragedModel):
    """Exponential moving average of a model's weights and buffers; `module` is the averaged model.

    After t updates it keeps min(decay, (1 + t) / (10 + t)) of itself in the next one, so that the random start does
    not weigh for 1 / (1 - decay) steps (https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage,
    `num_updates`). Integer buffers are copied. t is in the state dict.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=self._mix, use_buffers=True)
        self._decay = decay

    def _mix(self, averages: Tensors, tensors: Tensors, _: Tensor | int) -> None:
        updates = int(self.n_averaged)  # ours stays on the CPU: the argument would make the GPU wait
        kept = min(self._decay, (1 + updates) / (10 + updates))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, tensors, 1 - kept)
        else:
            torch._foreach_copy_(averages, tensors)


class Updates:
    """Turns the losses of batches into steps of the optimiser.

    accumulate: batches a step. Their losses are means over images, so that the gradient is that of one batch of all
    their images; with `summed` they are sums and count in full. scaler: of float16's loss; disabled otherwise.
    average, model: the average to be kept of the model.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        accumulate: int = 1,
        summed: bool = False,
        scaler: torch.amp.GradScaler | None = None,
        model: nn.Module | None = None,
        average: WeightAverage | None = None,
    ) -> None:
        assert average is None or model is not None
        self.optimizer = optimizer
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self._accumulate = accumulate
        self._summed = summed
        self._model, self._average = model, average
        self._counts: list[int] = []
        """Images of each batch since the last step."""

    def add(self, loss: Tensor, num_images: int) -> None:
        """The loss of one batch, a scalar; steps when the batches of a step are complete."""
        self._counts.append(num_images)
        weight = 1.0 if self._summed else num_images / self._counts[0]
        self.scaler.scale(weight * loss).backward()  # type: ignore[no-untyped-call]
        if len(self._counts) == self._accumulate:
            self._step()

    def finish(self) -> None:
        """At the end of an epoch: the step of the batches that are left."""
        if self._counts:
            self._step()

    def _step(self) -> None:
        if len(self._counts) > 1 and not self._summed:  # from a sum in units of the first batch to the mean
            torch._foreach_mul_(list(self._gradients()), self._counts[0] / sum(self._counts))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._counts.clear()
        if self._average is not None:
            assert self._model is not None
            self._average.update_parameters(self._model)

    def _gradients(self) -> Iterator[Tensor]:
        for group in self.optimizer.param_groups:
            yield from (parameter.grad for parameter in group["params"] if parameter.grad is not None)
