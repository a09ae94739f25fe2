"""A boosted head (model.py) as one more residual block of a ResNet, so that timm's own code gives the same logits.

logit = mean over cells of (boost * relu(z) - relu(-z)), with z = W f + b: no linear layer after pooling can say that.
But timm pools after its last block, and a block ends with relu(f + branch(f)). One whose branch is z - f in a channel
leaves relu(z) there, so that pooling and a linear layer with the weights boost and -1 do the rest.
Shapes: C classes, F features, h w cells of the feature map.
"""

import torch
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn


def why_not(backbone: nn.Module, num_classes: int) -> str | None:
    """What keeps a boosted head from becoming a block of this backbone; None where nothing does."""
    if not isinstance(backbone, ResNet) or not isinstance(block := last_block(backbone), BasicBlock | Bottleneck):
        return f"{type(backbone).__name__} has no residual blocks that end with a ReLU"
    plain = all(type(norm) is nn.BatchNorm2d for norm in _norms(block)) and block.se is None
    if not plain or not isinstance(_last_activation(block), nn.ReLU):
        return "its blocks are not plain ones with batch norm and ReLU"
    convolutions = _convolutions(block)
    limit = min(min(convolution.out_channels for convolution in convolutions[:-1]) // 4, backbone.num_features // 2)
    return f"its blocks have room for {limit} classes, not {num_classes}" if num_classes > limit else None


@torch.no_grad()
def write_head(model: nn.Module, weight: Tensor, bias: Tensor, boost: float) -> None:
    """Makes the last block of a timm ResNet and its linear layer a boosted head with weight (C, F) and bias (C,).

    The hidden channels hold z, -z (C each) and the first 2 C features, all of them not negative after a ReLU; the first
    2 C channels that leave the block hold relu(z) and relu(-z).
    """
    block, linear = last_block(model), model.get_classifier()  # type: ignore[operator]
    for norm in _norms(block):
        _make_identity(norm)
    num_classes, num_features = weight.shape
    features = torch.eye(2 * num_classes, num_features)
    first, *middle, last = (_clear(convolution) for convolution in _convolutions(block))
    first[: 4 * num_classes] = torch.cat((weight, -weight, features))
    _norms(block)[0].bias[: 2 * num_classes] = torch.cat((bias, -bias))
    for convolution in middle:  # of a Bottleneck: hands its channels on, within their groups
        channels = torch.arange(len(convolution))
        convolution[channels, channels % convolution.shape[1]] = 1
    both = torch.eye(2 * num_classes)
    last[: 2 * num_classes, : 4 * num_classes] = torch.cat((both - both.roll(num_classes, 1), -both), dim=1)
    linear.weight.zero_()
    linear.bias.zero_()
    linear.weight[:, : 2 * num_classes] = torch.cat((boost * torch.eye(num_classes), -torch.eye(num_classes)), dim=1)


def read_head(model: nn.Module, num_classes: int) -> tuple[Tensor, Tensor]:
    """Weight (C, F) and bias (C,) that `write_head` put there, bit for bit."""
    block = last_block(model)
    return _centre(_convolutions(block)[0])[:num_classes].clone(), _norms(block)[0].bias[:num_classes].clone()


def last_block(model: nn.Module) -> nn.Module:
    """Of a ResNet."""
    block: nn.Module = model.get_submodule("layer4")[-1]  # type: ignore[index]
    return block


def _convolutions(block: nn.Module) -> list[nn.Conv2d]:
    return [module for name, module in block.named_children() if name.startswith("conv")]  # type: ignore[misc]


def _norms(block: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for name, module in block.named_children() if name.startswith("bn")]  # type: ignore[misc]


def _last_activation(block: nn.Module) -> nn.Module:
    return [module for name, module in block.named_children() if name.startswith("act")][-1]


def _make_identity(norm: nn.BatchNorm2d) -> None:
    norm.reset_parameters()
    assert norm.running_var is not None
    norm.running_var -= norm.eps  # which is added again before the root is taken


def _centre(convolution: nn.Conv2d) -> Tensor:
    """(out, in) the weights of a kernel's middle cell, a view."""
    height, width = convolution.kernel_size
    return convolution.weight.detach()[:, :, height // 2, width // 2]


def _clear(convolution: nn.Conv2d) -> Tensor:
    nn.init.zeros_(convolution.weight)
    return _centre(convolution)
