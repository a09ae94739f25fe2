"""Expected positive regularisation: what is known to be present, and how many classes an image has on average.

Cole et al. 2021, https://arxiv.org/abs/2106.09708, section 3.2; the classifier's half of ROLE.
"""

import torch
from torch import Tensor

from trainer.losses import expected_positives, positive_log_likelihood
from trainer.methods.method import Method
from trainer.objective import Objective, Step
from trainer.session import Run


def number_of_positives(run: Run, labels: Tensor) -> float:
    """Classes that an image has on average: --positives, or else as many as labels (N, C) tell of."""
    return run.config.positives or float((labels == 1).sum() / (labels == 1).any(dim=1).sum())


class EprObjective(Objective):
    """-ln p of known positives + ((expected positives - number) / C)^2."""

    number: Tensor

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self.register_buffer("number", torch.zeros(()))

    def begin(self, labels: Tensor) -> None:
        self.number.fill_(number_of_positives(self._run, labels))

    def forward(self, step: Step) -> dict[str, Tensor]:
        probs_BC = step.logits.sigmoid()
        return {
            "label_loss": positive_log_likelihood(probs_BC, step.labels),
            "number_loss": expected_positives(probs_BC, self.number),
        }


METHOD = Method(EprObjective)
