"""The paper's classifier as a plain timm model and back: timm, transformers and this trainer read the same file.

The mean over places of a 1x1 convolution is a linear layer after pooling; a boosted head (model.py) is one more block.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from trainer import boost_block
from trainer.files import read_json
from trainer.model import DEMO_BACKBONE, CamClassifier, Classifier

# Largest difference of a probability that is float order. Measured: 3e-7 at most, ResNets at a boost of 3 included.
TOLERANCE = 1e-5


class NoTimmFormError(ValueError):
    """timm has no model that computes what the classifier computes."""


@dataclass(frozen=True)
class TimmForm:
    """A timm model in evaluation mode with C outputs, and what makes it again: timm.create_model(architecture,
    num_classes=C, **model_args)."""

    model: nn.Module
    architecture: str
    model_args: dict[str, Any]


def to_timm(classifier: Classifier, backbone_name: str, *, image_size: int) -> TimmForm:
    """The timm model on the CPU whose logits are the classifier's, for a backbone that `create_backbone` made.

    Raises NoTimmFormError, in one line, where there is none: what it computes is compared on two images of image_size.
    """
    if not isinstance(classifier, CamClassifier):
        raise NoTimmFormError(f"timm has no {type(classifier).__name__}")
    classifier = copy.deepcopy(classifier).cpu().eval()
    backbone, num_classes = classifier.backbone, classifier.head.out_channels
    boosted = classifier.boost != 1
    if boosted and (reason := boost_block.why_not(backbone, num_classes)):
        raise NoTimmFormError(f"a head with --cam-boost {classifier.boost:g} has no timm form: {reason}")
    architecture, model_args = _recipe(backbone_name)
    model_args |= _choices(backbone, more_blocks=boosted)
    try:
        model = timm.create_model(architecture, pretrained=False, num_classes=num_classes, **model_args).eval()
        _copy(classifier, model, boosted=boosted)
    except (TypeError, RuntimeError, AttributeError) as error:  # parts that this family of models has not, or more of
        reason = str(error).splitlines()[0]
        raise NoTimmFormError(f"timm's {architecture} is not its backbone, pooled ({reason})") from error
    difference = _difference(classifier, model, image_size)
    if not difference <= TOLERANCE:  # also where it is no number
        raise NoTimmFormError(
            f"timm's {architecture} does more than pool its features: what it says differs by {difference:.0e}"
        )
    return TimmForm(model, architecture, model_args)


def from_timm(model: nn.Module, *, boost: float) -> CamClassifier:
    """The classifier that `to_timm` made the model of, with the same bits; takes the model apart."""
    linear: nn.Linear = model.get_classifier()  # type: ignore[operator]
    num_classes = linear.out_features
    if boost == 1:
        weight, bias = linear.weight.detach().clone(), linear.bias.detach().clone()
    else:
        weight, bias = boost_block.read_head(model, num_classes)
        model.layer4 = model.layer4[:-1]  # type: ignore[index]
    model.reset_classifier(0, "")  # type: ignore[operator]
    classifier = CamClassifier(model, num_classes=num_classes, boost=boost)
    classifier.head.load_state_dict({"weight": weight[:, :, None, None], "bias": bias})
    return classifier.eval()


def _recipe(name: str) -> tuple[str, dict[str, Any]]:
    """timm's name of the architecture, and the settings beside it."""
    folder = DEMO_BACKBONE if name == "demo" else Path(name.removeprefix("local-dir:"))
    if name != "demo" and not name.startswith("local-dir:"):
        return name.split(".")[0], {}
    config: Mapping[str, Any] = read_json(folder / "config.json")
    given = config.get("model_args", {}).items()
    return config["architecture"], {key: value for key, value in given if key not in ("num_classes", "global_pool")}


def _choices(backbone: nn.Module, *, more_blocks: bool) -> dict[str, Any]:
    """What makes timm's model do what `CamClassifier` does with its features. Sizes are given, since timm would else
    take them from the images that the file is for."""
    choices: dict[str, Any] = {"global_pool": "avg"}
    if hasattr(backbone, "fc_norm"):  # with average pooling timm's transformers would normalise after it
        choices["fc_norm"] = not isinstance(backbone.fc_norm, nn.Identity)
    size = getattr(getattr(backbone, "patch_embed", None), "img_size", None)
    if size is not None:
        choices["img_size"] = list(size)
    if getattr(backbone, "dynamic_img_size", False):
        choices["dynamic_img_size"] = True
    if more_blocks:
        stages = [getattr(backbone, f"layer{stage}") for stage in range(1, 5)]
        choices["layers"] = [len(stage) for stage in stages[:-1]] + [len(stages[-1]) + 1]
    return choices


def _copy(classifier: CamClassifier, model: nn.Module, *, boosted: bool) -> None:
    """Puts the classifier's weights into the model. Raises RuntimeError where a tensor is missing or left over."""
    weight, bias = classifier.head.weight.detach()[:, :, 0, 0], classifier.head.bias
    assert bias is not None
    linear = model.get_classifier()  # type: ignore[operator]
    if not isinstance(linear, nn.Linear) or linear.weight.shape != weight.shape:
        raise RuntimeError("its last layer is not linear in the features")
    missing, unexpected = model.load_state_dict(classifier.backbone.state_dict(), strict=False)
    own = {id(tensor) for tensor in linear.parameters()}
    if boosted:
        own |= {id(tensor) for tensor in boost_block.last_block(model).state_dict(keep_vars=True).values()}
    tensors = model.state_dict(keep_vars=True)
    missing = [name for name in missing if id(tensors[name]) not in own]
    if missing or unexpected:
        raise RuntimeError(f"it has or lacks {min(missing + unexpected)}")
    with torch.no_grad():
        if boosted:
            boost_block.write_head(model, weight, bias.detach(), classifier.boost)
        else:
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)


@torch.inference_mode()
def _difference(classifier: CamClassifier, model: nn.Module, image_size: int) -> float:
    """Largest difference of a probability, or of a logit as a share of the largest one where that is more: noise, which
    moves every weight, may drive all probabilities to 0 or 1."""
    images = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    expected_BC, found_BC = classifier(images)[0], model(images)
    of_logits = (found_BC - expected_BC).abs().max() / expected_BC.abs().max().clamp(min=1)
    return float(torch.maximum(of_logits, (found_BC.sigmoid() - expected_BC.sigmoid()).abs().max()))
