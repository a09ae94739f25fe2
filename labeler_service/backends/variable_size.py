"""CLIP image towers at input sizes other than their native one: position tables interpolated to the feature grid.

Knows open_clip's two own towers. Weights stay as they are: a call gets its table through torch.func.functional_call.
"""

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

# The stem halves twice and layers 2-4 once each: https://github.com/openai/CLIP/blob/main/clip/model.py
RESNET_STRIDE = 32


class VariableSizeTower:
    """Calls an image tower on (B, 3, H, W) of any size that is at least one stride high and wide.

    Tables are kept per grid: at a longer side of 640 a ResNet has 39 of them when sides are multiples of 32.
    """

    def __init__(self, tower: nn.Module) -> None:
        self._tower = tower
        self._tables: dict[tuple[int, int], Tensor] = {}
        self.variable_size = True
        if isinstance(tower, ModifiedResNet):
            self._table_name = "attnpool.positional_embedding"
            self.stride, self.multiple = RESNET_STRIDE, 1
        elif isinstance(tower, VisionTransformer):
            self._table_name = "positional_embedding"
            # A patch that is not whole is never seen, so sides have to be multiples of it.
            self.stride = self.multiple = tower.patch_size[0]
        else:
            self.variable_size = False
            self.stride = self.multiple = 1

    def __call__(self, images_B3HW: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised."""
        if not self.variable_size:
            features: Tensor = self._tower(images_B3HW)
            return features
        grid = self._grid(*images_B3HW.shape[-2:])
        if grid not in self._tables:
            self._tables[grid] = self._interpolate(self._tower.get_parameter(self._table_name), grid)
        overrides = {self._table_name: self._tables[grid]}
        result: Tensor = torch.func.functional_call(self._tower, overrides, (images_B3HW,))
        return result

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        """Cells of the feature map."""
        if isinstance(self._tower, ModifiedResNet):
            # The first convolution rounds up, the four poolings after it round down.
            return (height + 1) // 2 // 16, (width + 1) // 2 // 16
        return height // self.stride, width // self.stride

    def _interpolate(self, table_LD: Tensor, grid: tuple[int, int]) -> Tensor:
        """The table for another grid; its first row belongs to the mean or class token and is kept."""
        side = round((len(table_LD) - 1) ** 0.5)
        if grid == (side, side):
            return table_LD
        cells_1Dhw = table_LD[1:].T.reshape(1, -1, side, side)
        if isinstance(self._tower, ModifiedResNet):
            # As the paper's released code does (k0u-id/CCD, patched AttentionPool2d).
            cells_1Dhw = F.interpolate(cells_1Dhw, size=grid, mode="bilinear", align_corners=False)
        else:
            # As open_clip.model.resize_pos_embed does.
            cells_1Dhw = F.interpolate(cells_1Dhw, size=grid, mode="bicubic", antialias=True, align_corners=False)
        return torch.cat([table_LD[:1], cells_1Dhw.flatten(2)[0].T])
