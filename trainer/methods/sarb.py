"""Semantic-aware representation blending: unknown classes get a share of a feature that is known to show the class.

Pu et al. 2022, https://arxiv.org/abs/2203.02172 (paper Table 1, "SARB"), on a tenth of the targets' entries. Its own
figures at that share, 71.2 on COCO and 83.5 on VOC07, are below the table's, which look like those of the extended
method DSRB (https://arxiv.org/abs/2205.13092). Constants from https://github.com/HCPLab-SYSU/HCP-MLR-PL,
scripts/SARB.sh and model/SARB.py. Shapes: B batch, C classes, D width of a feature, K prototypes of a class.
"""

import torch
from torch import Tensor, nn

from trainer.losses import known_bce
from trainer.methods.method import Method
from trainer.methods.prototypes import cluster
from trainer.methods.semantic import FIRST_EPOCH, SemanticObjective, semantic_classifier
from trainer.model import Classifier
from trainer.objective import Step
from trainer.session import Run

PROTOTYPES, PROTOTYPE_EPOCHS = 10, 5  # of each class; how long they serve
SHARE = 0.5  # of its own that a blended feature keeps at first


class SarbObjective(SemanticObjective):
    """BCE of blended features too, blended with those of another image of the batch, and with prototypes.

    Prototypes are of the features as they were in training in the epoch before; the authors make a pass of its own.
    """

    prototypes: Tensor

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.alpha = nn.Parameter(torch.tensor(SHARE))
        self.beta = nn.Parameter(torch.tensor(SHARE))
        self._collects = False
        self._collected: list[tuple[Tensor, Tensor]] = []  # features (P, D) and their classes (P,)

    def attach(self, model: Classifier) -> None:
        super().attach(model)
        shape = self._run.num_classes, PROTOTYPES, self.model.width
        self.register_buffer("prototypes", torch.full(shape, torch.nan))  # NaN of a class that has none

    def begin_epoch(self, epoch: int, num_epochs: int) -> None:
        super().begin_epoch(epoch, num_epochs)
        until = epoch + 1 - FIRST_EPOCH  # epochs with prototypes when this one is over
        self._collects = until >= 0 and until % PROTOTYPE_EPOCHS == 0
        self._collected = []

    def forward(self, step: Step) -> dict[str, Tensor]:
        terms = super().forward(step)
        features_BCD = step.features.float()
        if self._collects:
            positive_BC = step.labels == 1
            self._collected.append((features_BCD.detach()[positive_BC].cpu(), positive_BC.nonzero()[:, 1].cpu()))
        if self.completes:
            with torch.no_grad():
                self.alpha.clamp_(0, 1)
                self.beta.clamp_(0, 1)
            instances = blend_instances(features_BCD, step.labels, self.alpha)
            prototypes = blend_prototypes(features_BCD, step.labels, self.beta, self.prototypes)
            terms["instance_loss"] = self._loss(*instances)
            terms["prototype_loss"] = self._loss(*prototypes)
        return terms

    def end_epoch(self) -> None:
        if self._collects:
            features, classes = (torch.cat(parts).numpy() for parts in zip(*self._collected, strict=True))
            num_classes, number = self.prototypes.shape[:2]
            found_CKD = cluster(features, classes, num_classes=num_classes, number=number, seed=self._run.config.seed)
            self.prototypes.copy_(torch.from_numpy(found_CKD))

    def _loss(self, features: Tensor, labels: Tensor) -> Tensor:
        with self._run.machine.autocast():
            logits_BC = self.model.classify(features)
        return known_bce(logits_BC.float(), labels)


def blend_instances(features: Tensor, labels: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, C, D) and labels (B, C) after each image took from its partner, the batch back to front, what it
    does not know of itself and the partner shows: alpha of its own, and a label of 1 - alpha (section 3.3)."""
    blends_BC = labels.isnan() & (labels.flip(0) == 1)
    own_BC1 = torch.where(blends_BC, alpha, 1.0)[..., None]
    return own_BC1 * features + (1 - own_BC1) * features.flip(0), torch.where(blends_BC, 1 - alpha, labels)


def blend_prototypes(features: Tensor, labels: Tensor, beta: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, C, D) and labels (B, C) after one class of each image, at random among the unknown ones that have
    prototypes (C, K, D), took a random one: beta of its own, and a label of 1 - beta (section 3.4)."""
    open_BC = labels.isnan() & prototypes[:, 0, 0].isfinite()
    images = open_BC.any(dim=1).nonzero()[:, 0]
    classes = torch.rand_like(labels).masked_fill(~open_BC, -1).argmax(dim=1)[images]
    chosen = prototypes[classes, torch.randint(prototypes.shape[1], images.shape, device=images.device)]
    features, labels = features.clone(), labels.clone()
    features[images, classes] = beta * features[images, classes] + (1 - beta) * chosen
    labels[images, classes] = 1 - beta
    return features, labels


METHOD = Method(SarbObjective, model=semantic_classifier, stops=False)
