"""Which classes are in an image together: SST's head for pairs of classes, its loss, and what follows for unknown ones.

Chen et al. 2022, https://arxiv.org/abs/2112.10941, section 3.2. Shapes: B batch, C classes, D width of a class's
feature, H half of it, P = C (C - 1) / 2 pairs of classes in the order of torch.triu_indices.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.losses import asymmetric
from trainer.semantic_decoupling import RowwiseLinear

# https://github.com/HCPLab-SYSU/HCP-MLR-PL, SST.py and loss/SST.py
GAMMA_POSITIVE, GAMMA_NEGATIVE, MARGIN = 1.0, 2.0, 0.05


class CooccurrenceHead(nn.Module):
    """Whether an image shows both classes of a pair, from their features."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        hidden = width // 2
        self.reduce = nn.Linear(width, hidden)
        self.join = nn.Linear(2 * hidden, width)
        self.last = nn.Linear(width, width)
        self.score = RowwiseLinear(num_classes * (num_classes - 1) // 2, width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, D) -> logits (B, P).

        The authors' layers, factored, which gives the same: `join` takes each half of its input once a class, not once
        a pair, and `last` and `score`, with nothing between them, are multiplied first. The gradient then needs one
        (B, P, D), not three, which on COCO's 3,160 pairs are what fills the memory.
        """
        reduced_BCH = self.reduce(features)
        of_first_DH, of_second_DH = self.join.weight.chunk(2, dim=1)
        first_BCD = F.linear(reduced_BCH, of_first_DH, self.join.bias)
        second_BCD = F.linear(reduced_BCH, of_second_DH)
        first, second = pairs(features.shape[1], features.device)
        joined_BPD = F.relu(first_BCD[:, first] + second_BCD[:, second])
        weight_PD = self.score.weight @ self.last.weight
        bias_P = self.score.weight @ self.last.bias + self.score.bias
        return torch.einsum("bpd,pd->bp", joined_BPD, weight_PD) + bias_P


def cooccurrence_loss(pair_logits: Tensor, labels: Tensor) -> Tensor:
    """Asymmetric loss, mean over all pairs: a pair is there where both classes are known to be, nowhere else."""
    first, second = pairs(labels.shape[1], labels.device)
    both_BP = ((labels[:, first] == 1) & (labels[:, second] == 1)).float()
    loss = asymmetric(pair_logits, both_BP, gamma_positive=GAMMA_POSITIVE, gamma_negative=GAMMA_NEGATIVE, margin=MARGIN)
    return loss / pair_logits.numel()


@torch.no_grad()
def cooccurrence_scores(pair_logits: Tensor, labels: Tensor) -> Tensor:
    """(B, C) in [0, 1]: mean probability that a class goes with the image's known positives; 0 where it has none."""
    first, second = pairs(labels.shape[1], labels.device)
    probs_BCC = pair_logits.new_zeros(len(labels), labels.shape[1], labels.shape[1])
    probs_BCC[:, first, second] = probs_BCC[:, second, first] = pair_logits.sigmoid()
    positive_BC = (labels == 1).float()
    sums_BC = torch.einsum("bij,bj->bi", probs_BCC, positive_BC)
    return sums_BC / positive_BC.sum(dim=1, keepdim=True).clamp(min=1)


def pairs(num: int, device: torch.device) -> Tensor:
    """(2, num (num - 1) / 2): each pair of different numbers below num, once."""
    return torch.triu_indices(num, num, offset=1, device=device)
