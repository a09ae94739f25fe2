"""The classifier's losses as pure functions of tensors. B images of a batch, C classes."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
