"""Assume negative with label smoothing (paper Table 1, "Szegedy et al."; "LSAN" in Cole et al. 2021)."""

from torch import Tensor

from trainer.losses import bce, smoothed
from trainer.methods.bce_ls import EPSILON
from trainer.methods.method import Method
from trainer.objective import LossObjective


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """BCE to smoothed labels, where what is not known counts as absent."""
    return bce(logits, smoothed(labels.nan_to_num(0.0), EPSILON))


METHOD = Method(lambda run: LossObjective(loss))
