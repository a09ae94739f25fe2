"""Latent labels: a table of logits that follows the classifier's predictions, fast where it is unsure itself.

CDUL (Abdelfattah et al. 2023, https://arxiv.org/abs/2307.16634, eq. 7-8), and G2NetPL of the same authors.
"""

import math

import torch
from torch import Tensor

# Latent labels and predictions this near to 0 or 1 count as so near: their logits must be finite.
MARGIN = 1e-4


def logit(probs: Tensor) -> Tensor:
    """ln(p / (1 - p)), finite."""
    return torch.logit(probs.clamp(MARGIN, 1 - MARGIN))


def unsureness(labels: Tensor, sigma: float) -> Tensor:
    """Gaussian density at 1/2 with deviation sigma: the step size of each entry (CDUL eq. 8)."""
    return torch.exp(-0.5 * ((labels - 0.5) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


def follow(latent: Tensor, predictions: Tensor, *, sigma: float, sharpness: float = 0.0) -> Tensor:
    """One step of the latent logits u, any shape, towards predictions in [0, 1] (CDUL eq. 7).

    With y = sigmoid(u), u <- u - unsureness(y) * d/dy [KL(y || p) + sharpness * y (1 - y)]; of two Bernoulli
    distributions the divergence's derivative is logit(y) - logit(p).
    """
    labels = latent.sigmoid()
    gradient = latent - logit(predictions) + sharpness * (1 - 2 * labels)
    return latent - unsureness(labels, sigma) * gradient
