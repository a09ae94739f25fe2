"""Large-loss rejection and correction: assumed negatives with the largest losses are probably positives.

Kim et al. 2022, https://arxiv.org/abs/2206.03740 (paper Table 1, "LL-R"); ll_r, ll_ct and ll_cp choose what is done
with them. One random positive of each image is known.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.objective import Objective, Step
from trainer.session import Run

Treatment = Literal["reject", "correct for now", "correct for good"]

# Percent of a batch's entries that are taken more with each epoch (https://github.com/snucml/LargeLossMatters); for
# good: in each batch.
PERCENT: dict[Treatment, float] = {"reject": 0.5, "correct for now": 0.2, "correct for good": 0.1}


class LargeLossObjective(Objective):
    """BCE where unknown counts as absent, but for the entries with the largest losses: left out, or present."""

    corrected: Tensor

    def __init__(self, run: Run, treatment: Treatment) -> None:
        super().__init__()
        self._treatment = treatment
        self._epoch = 0
        if treatment == "correct for good":
            self.register_buffer("corrected", torch.zeros(len(run.train), run.num_classes, dtype=torch.bool))

    def begin_epoch(self, epoch: int, num_epochs: int) -> None:
        self._epoch = epoch

    def forward(self, step: Step) -> dict[str, Tensor]:
        labels_BC = step.labels.nan_to_num(0.0)
        if self._treatment == "correct for good":
            labels_BC = labels_BC.masked_fill(self.corrected[step.indices], 1.0)
        loss_BC = F.binary_cross_entropy_with_logits(step.logits, labels_BC, reduction="none")
        large_BC = self._large(loss_BC.detach(), ~step.known & (labels_BC == 0))
        if self._treatment == "reject":
            loss_BC = loss_BC.masked_fill(large_BC, 0.0)
        else:
            loss_BC = torch.where(large_BC, F.softplus(-step.logits), loss_BC)  # -ln p: the loss of a positive
        if self._treatment == "correct for good":
            self.corrected[step.indices] |= large_BC
        return {"label_loss": loss_BC.mean()}

    def _large(self, loss_BC: Tensor, candidates_BC: Tensor) -> Tensor:
        """(B, C) bool: the candidates with the largest losses, as many as the epoch says."""
        epochs = min(self._epoch, 1) if self._treatment == "correct for good" else self._epoch
        wanted = math.ceil(loss_BC.numel() * epochs * PERCENT[self._treatment] / 100)
        number = min(wanted, int(candidates_BC.sum()))
        chosen = loss_BC.masked_fill(~candidates_BC, -1.0).flatten().topk(number).indices
        large_BC = torch.zeros(loss_BC.numel(), dtype=torch.bool, device=loss_BC.device)
        large_BC[chosen] = True
        return large_BC.view_as(loss_BC)
