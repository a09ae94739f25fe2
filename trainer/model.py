"""The classifier: a timm backbone and a 1x1 convolution whose pooled activation maps are the logits (paper eq. 4).

Shapes: B batch, F features, C classes, h w cells of the feature map.
"""

from pathlib import Path
from typing import Any, Self

import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from trainer.data.transforms import SIZE_STEP

DEMO_BACKBONE = Path(__file__).parent / "demo_backbone"


class Classifier(nn.Module):
    """A timm backbone without head, and what a method puts on it.

    forward: (B, 3, H, W) normalised float images -> logits (B, C), and what else the method's objective needs.
    """

    backbone: nn.Module

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        outputs: tuple[Tensor, Tensor] = super().__call__(images)
        return outputs

    def train(self, mode: bool = True) -> Self:
        """Frozen blocks of the backbone stay in evaluation mode: the statistics of their batch norm must not move."""
        super().train(mode)
        for block in self.backbone.children():
            if any(not parameter.requires_grad for parameter in block.parameters()):
                block.eval()
        return self


class CamClassifier(Classifier):
    """Multi-label classifier that gives logits and class activation maps in one pass.

    `backbone` is a timm model without head; `boost` multiplies positive activations before they are pooled
    (BoostLU, https://arxiv.org/abs/2305.05404; the released CCD code uses 3, the paper does not mention it).
    """

    def __init__(self, backbone: nn.Module, *, num_classes: int, boost: float = 1.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv2d(int(backbone.num_features), num_classes, kernel_size=1)  # type: ignore[arg-type]
        self.boost = boost

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised float images -> logits (B, C) and CAMs (B, C, h, w), both before any sigmoid."""
        cams_BChw = self.head(feature_map(self.backbone, images))
        cams_BChw = torch.where(cams_BChw > 0, self.boost * cams_BChw, cams_BChw)
        return cams_BChw.mean(dim=(2, 3)), cams_BChw


def feature_map(backbone: nn.Module, images: Tensor) -> Tensor:
    """The last feature map of any timm backbone as (B, F, h, w); tokens go back to their places.

    Raises ValueError for a backbone whose features have no places.
    """
    features: Tensor = backbone.forward_features(images)  # type: ignore[operator]
    num_features = int(backbone.num_features)  # type: ignore[arg-type]
    if features.ndim == 4 and features.shape[1] == num_features:
        return features
    if features.ndim == 4 and features.shape[3] == num_features:  # Swin and others keep channels last
        return features.permute(0, 3, 1, 2)
    if features.ndim == 3 and hasattr(backbone, "patch_embed"):
        patches = features[:, int(getattr(backbone, "num_prefix_tokens", 0)) :]
        h, w = backbone.patch_embed.dynamic_feat_size(images.shape[-2:])  # type: ignore[operator,union-attr]
        return patches.transpose(1, 2).reshape(len(images), num_features, h, w)
    raise ValueError(f"backbone {type(backbone).__name__} has no spatial feature map: {tuple(features.shape)}")


@torch.inference_mode()
def check_sizes(model: Classifier, sizes: tuple[int, int] | None) -> None:
    """Raises ValueError when the classifier does not take images of some side from `sizes`, smallest and largest.

    Transformers divide an image by their patch, and some take one size alone; it is found out here and not in the
    middle of an epoch.
    """
    smallest, largest = sizes or (1, 0)
    device = next(model.parameters()).device
    model.eval()
    for side in range(smallest, largest + 1, SIZE_STEP):
        try:
            model(torch.zeros(1, 3, side, side, device=device))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"--size-jitter: the backbone does not take images of {side} pixels ({reason})") from error


def create_backbone(name: str, *, weights: str) -> nn.Module:
    """A timm model without head. `name`: timm's, `local-dir:FOLDER`, or `demo`.

    `weights`: `imagenet` (the weights that the name stands for), `none` (random), or a file that timm reads.
    Raises ValueError, in one line, for an unknown name and for weights that cannot be had.
    """
    source = f"local-dir:{DEMO_BACKBONE}" if name == "demo" else name
    if not source.startswith("local-dir:") and not timm.is_model(source):
        close = ", ".join(timm.list_models(f"*{source.split('.')[0]}*")[:5]) or "see timm.list_models()"
        raise ValueError(f"--backbone {name}: timm has no such model; close: {close}")
    backbone = _build(source, weights=weights, pretrained=weights == "imagenet")
    if weights not in ("imagenet", "none"):
        _load(backbone, Path(weights))
    return backbone


def _build(source: str, *, weights: str, pretrained: bool) -> nn.Module:
    create: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0, "global_pool": ""}
    try:
        try:  # transformers of timm take this to accept other sizes than they were trained at; others do not know it
            return timm.create_model(source, dynamic_img_size=True, **create)
        except TypeError:
            return timm.create_model(source, **create)
    except Exception as error:  # the hub's and the network's errors share no base class
        if not pretrained:
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"the weights of backbone {source} could not be had ({reason}); "
            "give a file with --backbone-weights FILE, or start from random ones with --backbone-weights none"
        ) from error


def _load(backbone: nn.Module, path: Path) -> None:
    """Loads weights from a file; its head may be missing or different, its backbone must fit."""
    if not path.is_file():
        raise ValueError(f"--backbone-weights {path}: no such file; give a file, imagenet, or none")
    state = timm.models.load_state_dict(str(path), weights_only=True)
    expected = backbone.state_dict()
    usable = {k: v for k, v in state.items() if k in expected and v.shape == expected[k].shape}
    if missing := expected.keys() - usable.keys():
        raise ValueError(
            f"--backbone-weights {path}: not this backbone's weights; {len(missing)} of {len(expected)} tensors are "
            f"missing or of another shape, such as {min(missing)}"
        )
    backbone.load_state_dict(usable)


def freeze_all_but_last_block(backbone: nn.Module) -> None:
    """Of a ResNet only `layer4` trains on. Raises ValueError for a backbone that has none."""
    if not hasattr(backbone, "layer4"):
        raise ValueError(
            f"--trained-blocks last: {type(backbone).__name__} has no layer4 as ResNets have; use --trained-blocks all"
        )
    backbone.requires_grad_(False)
    backbone.layer4.requires_grad_(True)


def normalization(backbone: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel that the backbone's weights expect, for pixels in [0, 1]."""
    config = resolve_data_config(model=backbone)  # type: ignore[no-untyped-call]
    return tuple(config["mean"]), tuple(config["std"])
