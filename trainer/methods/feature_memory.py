"""What classes look like across images: the latest features of each class, in buffers, for SST.

Chen et al. 2022, https://arxiv.org/abs/2112.10941, section 3.3. Shapes: B batch, C classes, M features remembered of
each, D their width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureMemory(nn.Module):
    """Rings of the latest M features of each class, of unit length; `seen` counts all that ever came."""

    features: Tensor
    seen: Tensor

    def __init__(self, num_classes: int, width: int, *, size: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(num_classes, size, width))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.int64))

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Takes the known positives of features (B, C, D) by labels (B, C)."""
        size = self.features.shape[1]
        positive_BC = labels == 1
        rank_BC = positive_BC.cumsum(dim=0) - 1  # among the class's positives of this batch
        latest_BC = positive_BC & (rank_BC >= positive_BC.sum(dim=0) - size)  # each to a place of its own
        images, classes = latest_BC.nonzero(as_tuple=True)
        places = (self.seen[classes] + rank_BC[images, classes]) % size
        self.features[classes, places] = F.normalize(features[images, classes], dim=1)
        self.seen += positive_BC.sum(dim=0)

    @torch.no_grad()
    def similarities(self, features: Tensor) -> Tensor:
        """(B, C) in [-1, 1]: mean cosine of features (B, C, D) to those remembered of their class; 0 where none is.

        The authors' code divides by M also while fewer are there.
        """
        held_C = self.seen.clamp(min=1, max=self.features.shape[1])
        mean_CD = self.features.sum(dim=1) / held_C[:, None]
        return (F.normalize(features, dim=2) * mean_CD).sum(dim=2)
