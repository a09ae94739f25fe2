"""Full supervision with label smoothing (paper Table 1, "BCE-LS"; Cole et al. 2021)."""

from torch import Tensor

from trainer.losses import known_bce, smoothed
from trainer.methods.method import Method
from trainer.objective import LossObjective

EPSILON = 0.1  # Szegedy et al. 2016, section 7


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """BCE to smoothed labels, over the known entries."""
    return known_bce(logits, smoothed(labels, EPSILON))


METHOD = Method(lambda run: LossObjective(loss), stops=False)
