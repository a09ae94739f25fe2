"""The training loop that one writes by hand with timm and torchvision: what the trainer is measured against.

Per step the same as CCD after warm-up: a weak and a strong view of each image, two forward passes, cross-entropy to the
labels and of the strong view to the weak one's prediction, one backward pass, Adam. Nothing is kept of an epoch.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data.config import resolve_data_config
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from trainer.engine import Machine
from trainer.model import DEMO_BACKBONE

Example = tuple[Tensor, Tensor, Tensor]  # weak and strong view (3, S, S), labels (C,)


class TwoViews(Dataset[Example]):
    """Files, decoded and augmented in worker processes."""

    def __init__(self, paths: Sequence[Path], labels: Tensor, transforms: tuple[v2.Transform, v2.Transform]) -> None:
        self._paths, self._labels, self._transforms = paths, labels, transforms

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Example:
        image = Image.open(self._paths[index]).convert("RGB")
        weak, strong = (transform(image) for transform in self._transforms)
        return weak, strong, self._labels[index]


class PlainLoop:
    """`epoch` trains on all images once."""

    def __init__(
        self, backbone: str, paths: Sequence[Path], labels: Tensor, machine: Machine, *,
        image_size: int, batch_size: int, workers: int,
    ) -> None:  # fmt: skip
        """labels: (N, C) in [0, 1]."""
        source = f"local-dir:{DEMO_BACKBONE}" if backbone == "demo" else backbone
        model = timm.create_model(source, pretrained=False, num_classes=labels.shape[1])
        self._machine = machine
        self._model = model.to(machine.device).to(memory_format=torch.channels_last)
        self._optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
        config = resolve_data_config(model=model)  # type: ignore[no-untyped-call]
        self._loader = DataLoader(
            TwoViews(paths, labels, _transforms(image_size, config)), batch_size=batch_size,
            shuffle=True, num_workers=workers, persistent_workers=True, pin_memory=machine.is_cuda,
        )  # fmt: skip

    def epoch(self) -> None:
        device, precision = self._machine.device, self._machine.precision
        self._model.train()
        for weak, strong, labels in self._loader:
            weak = weak.to(device, non_blocking=True, memory_format=torch.channels_last)
            strong = strong.to(device, non_blocking=True, memory_format=torch.channels_last)
            labels = labels.to(device, non_blocking=True)
            half = precision is not torch.float32
            with torch.autocast(device.type, precision) if half else nullcontext():
                weak_logits, strong_logits = self._model(weak).float(), self._model(strong).float()
            loss = F.binary_cross_entropy_with_logits(weak_logits, labels)
            loss = loss + F.binary_cross_entropy_with_logits(strong_logits, weak_logits.detach().sigmoid())
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
        if self._machine.is_cuda:
            torch.cuda.synchronize(device)


def _transforms(image_size: int, config: dict[str, tuple[float, ...]]) -> tuple[v2.Transform, v2.Transform]:
    """Of the weak and of the strong view, as the paper's released code has them."""
    squash, mirror = v2.Resize((image_size, image_size)), v2.RandomHorizontalFlip()
    normalise = (
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean=config["mean"], std=config["std"]),
    )
    jitter = v2.ColorJitter(0.5, 0.5, 0.5, 0.5)
    return v2.Compose([squash, mirror, *normalise]), v2.Compose([squash, mirror, jitter, *normalise])
