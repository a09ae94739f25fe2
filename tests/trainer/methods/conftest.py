"""What an objective needs of a run, without a run: its settings and how many images it has."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainer.objective import Step

NAN = float("nan")


@pytest.fixture
def fake_run() -> Callable[..., Any]:
    """fake_run(num_images, num_classes, **settings)"""

    def make(num_images: int, num_classes: int, **settings: Any) -> Any:
        config = {"seed": 0, "positives": None, "latent_sigma": 1.0, "warmup_epochs": 0, **settings}
        return SimpleNamespace(config=SimpleNamespace(**config), train=range(num_images), num_classes=num_classes)

    return make


@pytest.fixture
def step() -> Callable[..., Step]:
    """step(logits, labels, indices=None): one batch."""

    def make(logits: Any, labels: Any, indices: Any = None) -> Step:
        logits = torch.as_tensor(logits, dtype=torch.float32)
        indices = torch.arange(len(logits)) if indices is None else torch.as_tensor(indices)
        return Step(logits, None, logits, torch.as_tensor(labels, dtype=torch.float32), indices)

    return make
