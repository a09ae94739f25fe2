"""From pixels as they cross the bus to unit embeddings, in one module: what torch runs, compiles and exports to ONNX.

Shapes: B images of H x W pixels, a position table of L cells and width W, embeddings of D.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ImageEncoder(nn.Module):
    """An image tower with its normalisation before it and unit length after it. The tower's inputs are of `dtype`."""

    def __init__(self, tower: nn.Module, table_name: str | None, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self._tower = tower
        self._table_name = table_name
        self._dtype = dtype

    def forward(self, pixels_BHW3: Tensor, mean_3: Tensor, std_3: Tensor, table_LW: Tensor | None = None) -> Tensor:
        """uint8 (B, H, W, 3) to float32 (B, D)."""
        # A view only: channels stay last in memory, which convolutions on CUDA prefer.
        images_B3HW = pixels_BHW3.permute(0, 3, 1, 2).float().div(255)
        images_B3HW = images_B3HW.sub(mean_3.view(3, 1, 1)).div(std_3.view(3, 1, 1)).to(self._dtype)
        if self._table_name is None:
            features_BD = self._tower(images_B3HW)
        else:
            assert table_LW is not None
            # The weights stay as they are: the table of this size is the call's own.
            features_BD = torch.func.functional_call(self._tower, {self._table_name: table_LW}, (images_B3HW,))
        return F.normalize(features_BD.float(), dim=-1)
