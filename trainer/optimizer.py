"""Which parameter learns how fast: the backbone, its layers, the head, and what belongs to the method."""

from typing import Any

import torch
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import nn

from trainer.config import Settings
from trainer.model import Classifier
from trainer.objective import Objective


def create_optimizer(model: Classifier, objective: Objective, config: Settings) -> torch.optim.Adam:
    """Adam over the parameters of the classifier and its objective, each at its first rate.

    Raises ValueError for a layer decay on a backbone without layers.
    """
    backbone = set(model.backbone.parameters())
    head = [parameter for parameter in model.parameters() if parameter not in backbone]
    groups = [
        *_backbone_groups(model.backbone, config),
        {"params": head, "lr": config.head_learning_rate},
        *objective.parameter_groups(config.learning_rate),
    ]
    return torch.optim.Adam(groups, weight_decay=config.weight_decay)


def _backbone_groups(backbone: nn.Module, config: Settings) -> list[dict[str, Any]]:
    """The last layer learns at the backbone's rate, each layer before it at `layer_decay` times the next one's (Clark
    et al. 2020, https://arxiv.org/abs/2003.10555, section 3.1); what a layer is, timm says for each architecture."""
    if config.layer_decay == 1:
        return [{"params": list(backbone.parameters()), "lr": config.learning_rate}]
    groups = param_groups_layer_decay(
        backbone, weight_decay=config.weight_decay, weight_decay_exclude_1d=False, layer_decay=config.layer_decay
    )
    if len({group["lr_scale"] for group in groups}) == 1:
        raise ValueError(
            f"--layer-decay {config.layer_decay}: timm knows no layers of backbone {config.backbone}; leave it at 1"
        )
    return [{"params": group["params"], "lr": config.learning_rate * group["lr_scale"]} for group in groups]
