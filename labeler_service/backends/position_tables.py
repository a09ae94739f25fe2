"""CLIP image towers at input sizes other than their native one: position tables interpolated to the feature grid.

Knows open_clip's two own towers, and only their tables: whoever runs a tower gives it the table of the size at hand.
"""

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

# The stem halves twice and layers 2-4 once each: https://github.com/openai/CLIP/blob/main/clip/model.py
RESNET_STRIDE = 32


class PositionTables:
    """Makes the position table (1 + cells, width) of an image tower for each grid of feature cells.

    `name` is the table's parameter in the tower; None where the tower takes its native size only.
    """

    def __init__(self, tower: nn.Module) -> None:
        self._is_resnet = isinstance(tower, ModifiedResNet)
        self.name: str | None = None
        self.stride = self.multiple = 1
        if isinstance(tower, ModifiedResNet):
            self.name = "attnpool.positional_embedding"
            self.stride = RESNET_STRIDE
        elif isinstance(tower, VisionTransformer):
            self.name = "positional_embedding"
            # A patch that is not whole is never seen, so sides have to be multiples of it.
            self.stride = self.multiple = tower.patch_size[0]
        if self.name is not None:
            self._native = tower.get_parameter(self.name).detach()

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Feature cells of an image of at least one stride. At a longer side of 640 a ResNet has 39 grids when sides
        are multiples of 32, so tables are worth keeping."""
        if self._is_resnet:
            # The first convolution rounds up, the four poolings after it round down.
            return (height + 1) // 2 // 16, (width + 1) // 2 // 16
        return height // self.stride, width // self.stride

    def interpolate(self, grid: tuple[int, int]) -> Tensor:
        """The table for a grid, float32; its first row belongs to the mean or class token and is kept."""
        side = round((len(self._native) - 1) ** 0.5)
        if grid == (side, side):
            return self._native
        cells_1Dhw = self._native[1:].T.reshape(1, -1, side, side)
        if self._is_resnet:
            # As the paper's released code does (k0u-id/CCD, patched AttentionPool2d).
            cells_1Dhw = F.interpolate(cells_1Dhw, size=grid, mode="bilinear", align_corners=False)
        else:
            # As open_clip.model.resize_pos_embed does.
            cells_1Dhw = F.interpolate(cells_1Dhw, size=grid, mode="bicubic", antialias=True, align_corners=False)
        return torch.cat([self._native[:1], cells_1Dhw.flatten(2)[0].T])
