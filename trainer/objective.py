"""What a classifier is trained to: the loss of a batch, and what a method remembers from batch to batch.

B images of a batch, N training images, C classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.model import Classifier


@dataclass(frozen=True)
class Step:
    """One batch as the model saw it, all on its device.

    logits, strong_logits: (B, C) float32 of the weakly and, where the objective asks for it, the strongly augmented
    images. features: what the model gives beside its logits, activation maps (B, C, h, w) as a rule, in the precision
    that it ran in. labels: (B, C) in [0, 1], NaN where nothing is known. indices: (B,) the images' places among the N.
    """

    logits: Tensor
    strong_logits: Tensor | None
    features: Tensor
    labels: Tensor
    indices: Tensor

    @property
    def known(self) -> Tensor:
        """(B, C) bool: where a label is given."""
        return ~torch.isnan(self.labels)


class Objective(nn.Module, ABC):
    """The loss of a method. Parameters are trained with the classifier's; they and buffers are in every checkpoint, so
    that a run which was killed goes on with the same bits.

    `summed`: the loss is a sum over the batch's images and no mean, so that gradients of several batches add up.
    """

    summed = False

    @abstractmethod
    def forward(self, step: Step) -> dict[str, Tensor]:
        """The terms of the loss by name, scalars with their weights; their sum is what is minimised."""

    def attach(self, model: Classifier) -> None:
        """Right after it is made: the model that it will train. What depends on the model's shapes is made here."""

    def begin(self, labels: Tensor) -> None:
        """Once, before the first epoch of a run: (N, C) all labels, NaN where nothing is known."""

    def begin_epoch(self, epoch: int, num_epochs: int) -> None:
        """Before each epoch, counted from 0; also of a run that goes on."""

    def end_epoch(self) -> None:
        """After its last batch."""

    def wants_strong_view(self, epoch: int) -> bool:
        """Whether batches of that epoch need the strongly augmented images too."""
        return False

    def parameter_groups(self, learning_rate: float) -> list[dict[str, object]]:
        """Of the objective's own parameters, as torch.optim wants them; `learning_rate` is the backbone's."""
        parameters = list(self.parameters())
        return [{"params": parameters, "lr": learning_rate}] if parameters else []


Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits, labels) -> scalar; both (B, C), labels NaN where nothing is known."""


class LossObjective(Objective):
    """A loss without a memory."""

    def __init__(self, loss: Loss, *, summed: bool = False) -> None:
        super().__init__()
        self._loss = loss
        self.summed = summed

    def forward(self, step: Step) -> dict[str, Tensor]:
        return {"label_loss": self._loss(step.logits, step.labels)}
