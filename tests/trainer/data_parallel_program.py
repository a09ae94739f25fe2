"""Trains a small classifier for two epochs by some methods; each process saves what it came to. For tests alone.

torchrun --nproc-per-node N data_parallel_program.py FOLDER
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainer import distributed
from trainer.data.loader import Batch
from trainer.data.sharding import Share
from trainer.data_parallel import DataParallel
from trainer.engine import Machine, train_one_epoch
from trainer.methods.asl import LOSS
from trainer.methods.ccd import CcdObjective
from trainer.methods.large_loss import LargeLossObjective
from trainer.methods.role import RoleObjective
from trainer.methods.sarb import SarbObjective
from trainer.model import CamClassifier, Classifier, create_backbone
from trainer.objective import LossObjective, Objective
from trainer.semantic_decoupling import SemanticClassifier
from trainer.updates import Updates

# Batches of 5 and of 1: two processes have 2 and 3 images, and then none and 1.
NUM_IMAGES, NUM_CLASSES, BATCH_SIZE, IMAGE_SIZE = 6, 4, 5, 64
EPOCHS = (4, 5)  # in the second one SARB blends features, with prototypes of the first

CPU = Machine(torch.device("cpu"), torch.float32)


def objective(method: str) -> Objective:
    config = {"seed": 0, "positives": None, "batch_size": BATCH_SIZE, "warmup_epochs": 0}
    config |= {"consistency_weight": 1.0, "consistency": True, "uncertain_weight": 1.0}
    run: Any = SimpleNamespace(
        config=SimpleNamespace(**config), machine=CPU, train=range(NUM_IMAGES), num_classes=NUM_CLASSES
    )
    match method:
        case "ccd":  # two views
            return CcdObjective(run)
        case "role":  # parameters of its own, a loss that is no mean over images
            return RoleObjective(run)
        case "ll_cp":  # the largest of the batch, a memory of images
            return LargeLossObjective(run, "correct for good")
        case "sarb":  # pairs of images, random numbers, the model's layers within the loss
            return SarbObjective(run)
    return LossObjective(LOSS)  # a sum over the batch


METHODS = ("ccd", "role", "ll_cp", "sarb", "asl")


def batches(epoch: int, share: Share, *, two_views: bool) -> Iterator[Batch]:
    order = np.random.default_rng(epoch).permutation(NUM_IMAGES)
    weak, strong = torch.randn(2, NUM_IMAGES, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))
    for start in range(0, NUM_IMAGES, BATCH_SIZE):
        indices = order[start : start + BATCH_SIZE]
        own = share.of(indices)
        yield Batch(weak[own], strong[own] if two_views else None, torch.from_numpy(indices))


def train(method: str, share: Share) -> dict[str, Tensor]:
    """What this process has in the end: weights, statistics, the objective's memory, losses, predictions."""
    torch.manual_seed(0)
    backbone = create_backbone("resnet10t", weights="none")
    model: Classifier
    if method == "sarb":
        model = SemanticClassifier(backbone, num_classes=NUM_CLASSES, width=16)
    else:
        model = CamClassifier(backbone, num_classes=NUM_CLASSES)
    goal = objective(method)
    goal.attach(model)
    labels = torch.rand(NUM_IMAGES, NUM_CLASSES, generator=torch.Generator().manual_seed(2))
    if method != "ccd":
        labels = torch.where(labels < 0.5, torch.nan, (labels > 0.6).float())
    goal.begin(labels)
    modules = nn.ModuleDict({"model": model, "objective": goal})
    updates = Updates(torch.optim.SGD(modules.parameters(), lr=0.01))  # Adam would blow rounding up to whole steps
    found = {}
    for epoch in EPOCHS:
        torch.manual_seed(epoch)
        goal.begin_epoch(epoch, 20)
        result = train_one_epoch(
            model, goal, batches(epoch, share, two_views=goal.wants_strong_view(epoch)), updates, CPU,
            labels=labels.numpy(), rows=np.arange(NUM_IMAGES), parallel=DataParallel(share),
            advance=lambda *_, **__: None,
        )  # fmt: skip
        goal.end_epoch()
        found |= {f"{epoch}.{name}": torch.tensor(value) for name, value in result.losses.items()}
        found[f"{epoch}.probs"] = torch.from_numpy(result.probs)
    return found | modules.state_dict()


if __name__ == "__main__":
    with distributed.process_group():
        place = Share(distributed.rank(), distributed.world_size())
        state = {method: train(method, place) for method in METHODS}
        torch.save(state, Path(sys.argv[1]) / f"{place.rank}.pt")
