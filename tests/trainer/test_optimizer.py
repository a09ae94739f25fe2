"""Rates of parameters."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer.config import RunConfig, Settings, resolve
from trainer.losses import bce
from trainer.model import CamClassifier, create_backbone
from trainer.objective import LossObjective
from trainer.optimizer import create_optimizer


def settings(**options: Any) -> Settings:
    rates = {"learning_rate": 0.1, "head_learning_rate": 0.5}
    return resolve(RunConfig(**(rates | options)), data_format="demo", num_classes=3, prompt="{}")


def rates_of(optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor]) -> set[float]:
    """Their rates; each parameter must be in one group."""
    found = []
    for parameter in parameters:
        rates = [group["lr"] for group in optimizer.param_groups if any(p is parameter for p in group["params"])]
        assert len(rates) == 1
        found.append(round(rates[0], 6))
    return set(found)


@pytest.mark.parametrize(
    ("backbone", "layers"),
    [
        # from the last to the first; a tiny ResNet has one block a stage
        ("resnet10t", ["layer4", "layer3", "layer2", "layer1", "conv1"]),
        ("vit_tiny_patch16_224", ["blocks.11", "blocks.10", "blocks.9"]),
    ],
)
def test_each_layer_learns_slower_than_the_one_after_it(backbone: str, layers: list[str]) -> None:
    """Would fail if the first layers learned fastest, or a parameter were in no group and stood still."""
    model = CamClassifier(create_backbone(backbone, weights="none"), num_classes=3)
    optimizer = create_optimizer(model, LossObjective(bce), settings(layer_decay=0.5))
    assert rates_of(optimizer, model.parameters()) >= {0.1, 0.5}
    assert rates_of(optimizer, model.head.parameters()) == {0.5}
    named = dict(model.backbone.named_parameters())
    slowest = [min(rates_of(optimizer, [p for n, p in named.items() if n.startswith(f"{layer}.")])) for layer in layers]
    assert all(later > earlier for later, earlier in pairwise(slowest)), slowest
    assert slowest[-1] < 0.1 * 0.5


def test_without_a_decay_there_is_one_rate_for_the_backbone() -> None:
    model = CamClassifier(create_backbone("resnet10t", weights="none"), num_classes=3)
    optimizer = create_optimizer(model, LossObjective(bce), settings())
    assert rates_of(optimizer, model.backbone.parameters()) == {0.1}


def test_the_decay_of_weights_stays_that_of_all() -> None:
    """Would fail if the layers' groups left biases and norms out of the penalty, which they are part of otherwise."""
    model = CamClassifier(create_backbone("resnet10t", weights="none"), num_classes=3)
    optimizer = create_optimizer(model, LossObjective(bce), settings(layer_decay=0.5, weight_decay=0.01))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.01}


class Layerless(nn.Conv2d):
    num_features = 4

    def forward_features(self, images: Tensor) -> Tensor:
        return self(images)


def test_a_backbone_without_layers_is_refused() -> None:
    """Would fail if a decay that changes nothing were taken without a word."""
    model = CamClassifier(Layerless(3, 4, 3), num_classes=3)
    with pytest.raises(ValueError, match=r"--layer-decay 0.5: timm knows no layers"):
        create_optimizer(model, LossObjective(bce), settings(layer_decay=0.5))
