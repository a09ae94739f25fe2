"""The classifier's losses as pure functions of tensors. B images of a batch, C classes.

logits are (B, C). Labels are (B, C) in [0, 1]; of the losses that say so, NaN where nothing is known.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# g(r) = a r + b with g(1) = 1 and about g(0.1) = 5: the best of Durand et al. 2019, section 4.1, gamma = 1.
PARTIAL_BCE_SLOPE, PARTIAL_BCE_OFFSET = -4.45, 5.45
# https://github.com/Alibaba-MIIL/ASL clamps probabilities so; https://github.com/elijahcole shifts them.
LOG_FLOOR, LOG_SHIFT = 1e-8, 1e-5
# https://github.com/HCPLab-SYSU/HCP-MLR-PL, loss/SST.py: for each pair of positives so many of another kind, at random
RANDOM_PAIRS = 2


def bce(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, mean over all B * C entries.

    logits: (B, C). labels: (B, C) in [0, 1], soft. weights: (B,) factor of each image, 1 when None.
    """
    loss_BC = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return loss_BC.mean() if weights is None else (loss_BC * weights[:, None]).mean()


def consistency(strong_logits: Tensor, weak_logits: Tensor) -> Tensor:
    """Cross-entropy of the strong view with the weak view's prediction as a fixed label (paper eq. 8, L_consist).

    Both (B, C). No gradient reaches weak_logits: the weak view teaches, it does not learn from the strong one.
    """
    return bce(strong_logits, weak_logits.detach().sigmoid())


def entropy_weights(entropies: Tensor, *, gate: float, coefficient: float) -> Tensor:
    """min(1, [H <= gate] + coefficient): (B,) weights of the images in `bce` (released code; not in the paper).

    entropies: (B,) of CLIP's global prediction, in the unit of gate. coefficient 1 turns the weighting off.
    """
    return ((entropies <= gate).to(torch.float32) + coefficient).clamp(max=1)


def known_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the entries that are known; 0 where none is."""
    known_BC = ~torch.isnan(labels)
    return (
        F.binary_cross_entropy_with_logits(logits[known_BC], labels[known_BC]) if known_BC.any() else 0 * logits.sum()
    )


def assume_negative(logits: Tensor, labels: Tensor) -> Tensor:
    """BCE where what is not known counts as absent (Kundu and Tighe 2020, the "AN loss")."""
    return bce(logits, labels.nan_to_num(0.0))


def smoothed(labels: Tensor, epsilon: float) -> Tensor:
    """Label smoothing on both sides: 1 becomes 1 - epsilon, 0 becomes epsilon (Szegedy et al. 2016, as in
    https://github.com/elijahcole/single-positive-multi-label)."""
    return labels * (1 - epsilon) + (1 - labels) * epsilon


def weak_negative(logits: Tensor, labels: Tensor) -> Tensor:
    """As assume_negative, but an assumed negative weighs 1 / (C - 1), so that those of an image weigh together as much
    as its positive (Mac Aodha et al. 2019, "WAN" in Cole et al. 2021). C is at least 2."""
    labels_BC = labels.nan_to_num(0.0)
    loss_BC = F.binary_cross_entropy_with_logits(logits, labels_BC, reduction="none")
    weights_BC = labels_BC + (1 - labels_BC) / (labels.shape[1] - 1)
    return (weights_BC * loss_BC).mean()


def partial_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """BCE over known entries, each image's divided by C and weighed by g(r) = a r + b of its known share r
    (Durand et al. 2019, eq. 2-3), so that images with few known labels count as much; mean over images."""
    known_BC = ~torch.isnan(labels)
    loss_BC = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0), reduction="none") * known_BC
    share_B = known_BC.float().mean(dim=1)
    return ((PARTIAL_BCE_SLOPE * share_B + PARTIAL_BCE_OFFSET) * loss_BC.mean(dim=1)).mean()


def asymmetric(
    logits: Tensor, labels: Tensor, *, gamma_positive: float, gamma_negative: float, margin: float
) -> Tensor:
    """Asymmetric loss (Ridnik et al. 2021, https://arxiv.org/abs/2009.14119, eq. 4-7), summed over the known entries.

    The focusing weights carry no gradient, as in the authors' code.
    """
    known_BC = ~torch.isnan(labels)
    labels_BC = labels.nan_to_num(0.0)
    probs_BC = logits.sigmoid()
    shifted_BC = (1 - probs_BC + margin).clamp(max=1)  # 1 - p_m, eq. 5
    log_BC = labels_BC * probs_BC.clamp(min=LOG_FLOOR).log() + (1 - labels_BC) * shifted_BC.clamp(min=LOG_FLOOR).log()
    with torch.no_grad():
        likelihood_BC = labels_BC * probs_BC + (1 - labels_BC) * shifted_BC
        weights_BC = (1 - likelihood_BC) ** (labels_BC * gamma_positive + (1 - labels_BC) * gamma_negative)
    return -(weights_BC * log_BC * known_BC).sum()


def expected_positives(probs: Tensor, number: Tensor) -> Tensor:
    """((mean over images of their expected positives - number) / C)^2: the K term of ROLE and EPR (Cole et al. 2021,
    https://arxiv.org/abs/2106.09708, eq. 5)."""
    return ((probs.sum(dim=1).mean() - number) / probs.shape[1]) ** 2


def positive_log_likelihood(probs: Tensor, labels: Tensor) -> Tensor:
    """-ln p, mean over the known positives; 0 where there is none (the first term of ROLE and EPR)."""
    positive_BC = labels == 1
    return -(probs[positive_BC] + LOG_SHIFT).log().mean() if positive_BC.any() else 0 * probs.sum()


def contrastive(features: Tensor, labels: Tensor) -> Tensor:
    """Pulls a class's features together where two images show it, and pushes others apart; mean over pairs of images.

    features: (B, C, D). A pair with both labels known costs 1 - cos if both are 1, and 1 + cos if one or none is. If
    there are P pairs of the first kind, of either other kind the P costliest count and 2 P random ones (Chen et al.
    2022, https://arxiv.org/abs/2112.10941, eq. 9, as in their code, where the unlike push each other apart too).
    """
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    unit_BCD = F.normalize(features, dim=2)
    cosines_PC = torch.einsum("bcd,ecd->bec", unit_BCD, unit_BCD)[first, second]
    positives_PC = labels[first] + labels[second]  # NaN unless both are known
    alike = 1 - cosines_PC[positives_PC == 2]
    costs = [alike, *(_costliest_and_random(1 + cosines_PC[positives_PC == kind], len(alike)) for kind in (1, 0))]
    pairs = torch.cat(costs)
    return pairs.mean() if len(pairs) else 0 * features.sum()


def _costliest_and_random(costs: Tensor, number: int) -> Tensor:
    """Of costs (P,) the largest `number` and RANDOM_PAIRS times as many at random; all where number is 0."""
    if number == 0:
        return costs
    drawn = torch.randperm(len(costs), device=costs.device)[: RANDOM_PAIRS * number]
    return torch.cat((costs[drawn], costs.topk(min(number, len(costs))).values))
