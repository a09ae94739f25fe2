"""A reconstruction of G2NetPL: classifier and pseudo-labels of what is unknown play a game of two players.

Abdelfattah et al. 2022, https://arxiv.org/abs/2210.11469 (paper Table 1, "G2NetPL"). Its text was not at hand and no
code is public: built from its abstract and the authors' later CDUL, so figures compare only in kind.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.methods.latent import follow, logit
from trainer.methods.method import Method
from trainer.objective import Objective, Step
from trainer.session import Run

# The game's push of labels to 0 or 1; ours, small beside the pull of predictions that differ by a logit.
SHARPNESS = 0.5


class G2NetPLObjective(Objective):
    """BCE to what is known, and to pseudo-labels of the rest, sure ones first: with weight |2 y - 1|^(1 - progress).

    The pseudo-labels' move comes after each batch: towards the prediction and away from a half.
    """

    latent: Tensor

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._sigma = run.config.latent_sigma
        self._progress = 0.0
        self.register_buffer("latent", torch.zeros(len(run.train), run.num_classes))

    def begin(self, labels: Tensor) -> None:
        """What is unknown begins at 1 / C: of an image's C classes one positive is all that it is known to show.

        From a half, which weighs nothing, the classifier sees positives alone until the labels have moved, and they
        move to what it then says: everything is present.
        """
        self.latent.copy_(logit(labels.nan_to_num(1 / labels.shape[1])))

    def begin_epoch(self, epoch: int, num_epochs: int) -> None:
        self._progress = epoch / num_epochs

    def forward(self, step: Step) -> dict[str, Tensor]:
        latent_BC = self.latent[step.indices]
        pseudo_BC = latent_BC.sigmoid()
        targets_BC = torch.where(step.known, step.labels.nan_to_num(0.0), pseudo_BC)
        weights_BC = torch.where(step.known, 1.0, (2 * pseudo_BC - 1).abs() ** (1 - self._progress))
        loss_BC = F.binary_cross_entropy_with_logits(step.logits, targets_BC, reduction="none")
        moved_BC = follow(latent_BC, step.logits.detach().sigmoid(), sigma=self._sigma, sharpness=SHARPNESS)
        self.latent[step.indices] = torch.where(step.known, latent_BC, moved_BC)
        return {"label_loss": (weights_BC * loss_BC).mean()}


METHOD = Method(G2NetPLObjective, stops=False)
