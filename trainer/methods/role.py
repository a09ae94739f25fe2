"""Regularised online label estimation: a classifier and a table of estimated labels teach each other.

Cole et al. 2021, https://arxiv.org/abs/2106.09708, section 3.3 (paper Table 1, "ROLE").
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.losses import expected_positives, positive_log_likelihood
from trainer.methods.epr import number_of_positives
from trainer.methods.method import Method
from trainer.objective import Objective, Step
from trainer.session import Run

# Estimates begin within 0.4 to 0.6, known positives at 0.995, and learn ten times as fast as the classifier
# (https://github.com/elijahcole/single-positive-multi-label).
LARGEST_UNKNOWN, POSITIVE, RATE = 0.6, 0.995, 10.0


class RoleObjective(Objective):
    """Half of each: the loss of the classifier with the estimates as targets, and the other way round."""

    number: Tensor

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self.estimates = nn.Parameter(torch.zeros(len(run.train), run.num_classes))  # logits (N, C)
        self.register_buffer("number", torch.zeros(()))

    def begin(self, labels: Tensor) -> None:
        self.number.fill_(number_of_positives(self._run, labels))
        generator = torch.Generator().manual_seed(self._run.config.seed)
        limit = _logit(LARGEST_UNKNOWN)
        start = torch.empty(self.estimates.shape).uniform_(-limit, limit, generator=generator).to(labels.device)
        with torch.no_grad():
            self.estimates.copy_(torch.where(labels == 1, _logit(POSITIVE), start))

    def parameter_groups(self, learning_rate: float) -> list[dict[str, object]]:
        return [{"params": [self.estimates], "lr": RATE * learning_rate}]

    def forward(self, step: Step) -> dict[str, Tensor]:
        probs_BC, estimated_BC = step.logits.sigmoid(), self.estimates[step.indices].sigmoid()
        return {
            "label_loss": 0.5 * self._half(probs_BC, estimated_BC.detach(), step.labels),
            "estimate_loss": 0.5 * self._half(estimated_BC, probs_BC.detach(), step.labels),
        }

    def _half(self, learner_BC: Tensor, teacher_BC: Tensor, labels_BC: Tensor) -> Tensor:
        """Eq. 7: the learner's positives, its distance from the teacher, and its number of positives."""
        return (
            positive_log_likelihood(learner_BC, labels_BC)
            + F.binary_cross_entropy(learner_BC, teacher_BC)
            + expected_positives(learner_BC, self.number)
        )


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


METHOD = Method(RoleObjective)
