"""Structured semantic transfer: unknown labels from known ones of the same image, and from features of other images.

Chen et al. 2022, https://arxiv.org/abs/2112.10941 (paper Table 1, "Chen et al."), on a tenth of the targets' entries.
Constants from https://github.com/HCPLab-SYSU/HCP-MLR-PL, scripts/SST.sh and SST.py. B batch, C classes.
"""

import torch
from torch import Tensor

from trainer.losses import known_bce
from trainer.methods.cooccurrence import CooccurrenceHead, cooccurrence_loss, cooccurrence_scores
from trainer.methods.feature_memory import FeatureMemory
from trainer.methods.method import Method
from trainer.methods.semantic import FIRST_EPOCH, SemanticObjective, semantic_classifier
from trainer.model import Classifier
from trainer.objective import Step

COOCCURRENCE_WEIGHT = 10.0
MEMORY = 100  # features of each class
FIRST_MARGIN, MARGIN_STEP, LEAST_MARGIN = 0.95, 0.025, 0.75


class SstObjective(SemanticObjective):
    """Learns which classes occur together and what they look like; then takes as present what is sure by either."""

    def attach(self, model: Classifier) -> None:
        super().attach(model)
        self.cooccurrence = CooccurrenceHead(self._run.num_classes, self.model.width)
        self.memory = FeatureMemory(self._run.num_classes, self.model.width, size=MEMORY)

    def forward(self, step: Step) -> dict[str, Tensor]:
        terms = super().forward(step)
        features_BCD = step.features.float()
        pairs_BP = self.cooccurrence(features_BCD)
        terms["cooccurrence_loss"] = self.ramp * COOCCURRENCE_WEIGHT * cooccurrence_loss(pairs_BP, step.labels)
        self.memory.remember(features_BCD, step.labels)
        if self.completes:
            least = margin(self._epoch)
            intra_BC = completed(step.labels, cooccurrence_scores(pairs_BP, step.labels), least)
            inter_BC = completed(step.labels, self.memory.similarities(features_BCD), least)
            terms["intra_loss"] = known_bce(step.logits, intra_BC)
            terms["inter_loss"] = known_bce(step.logits, inter_BC)
        return terms


def margin(epoch: int) -> float:
    """Score from which an unknown class counts as present; falls from epoch to epoch."""
    return max(LEAST_MARGIN, FIRST_MARGIN - MARGIN_STEP * (epoch - FIRST_EPOCH))


def completed(labels: Tensor, scores: Tensor, least: float) -> Tensor:
    """labels (B, C), and 1 where nothing is known and scores (B, C) reach `least`."""
    return torch.where(labels.isnan() & (scores >= least), 1.0, labels)


METHOD = Method(SstObjective, model=semantic_classifier, stops=False)
