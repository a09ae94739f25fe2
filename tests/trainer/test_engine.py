"""Prediction holds one batch at a time; what an epoch records."""

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.data.loader import BATCHES_AHEAD, EvaluationBatches
from trainer.data.sample import ImageSet, Sample
from trainer.engine import Machine, predict
from trainer.epoch_record import EpochRecord
from trainer.model import Classifier

CPU = torch.device("cpu")


def silent(count: int, note: str = "") -> None:
    pass


class CountedFile:
    """An image file that knows how often it was read."""

    def __init__(self, content: bytes) -> None:
        self.content, self.reads = content, 0

    def read_bytes(self) -> bytes:
        self.reads += 1
        return self.content


class Means(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.mean(dim=(2, 3)), images


def test_a_pass_holds_one_batch_of_maps_and_reads_few_images_ahead(image_bytes) -> None:
    """150,000 images of 640 pixels: would fail if maps were collected, or loading ran ahead with every thread."""
    file = CountedFile(image_bytes())
    samples = tuple(Sample(f"{i}", file) for i in range(60))
    batches = EvaluationBatches(
        ImageSet("train", samples), image_size=16, mean=(0.5,) * 3, std=(0.5,) * 3, batch_size=2, workers=8
    )
    earlier: list[weakref.ref[np.ndarray]] = []
    seen = 0
    for indices, logits, cams in predict(Means(), batches, Machine(CPU, torch.float32)):
        assert cams.shape == (2, 3, 16, 16)
        seen += len(indices)
        assert file.reads <= seen + 2 * BATCHES_AHEAD
        assert sum(array() is not None for array in earlier) == 0
        earlier.append(weakref.ref(cams))
        del indices, logits, cams
    assert seen == file.reads == 60


def test_a_record_is_means_over_images_and_each_image_s_probabilities() -> None:
    """Would fail if a smaller last batch weighed as much as the others."""
    record = EpochRecord((3, 2), CPU)
    assert record.note == ""
    record.add(torch.tensor([2, 0]), ["a", "b"], torch.tensor([1.0, 4.0]), torch.tensor([[0.0, 100.0], [-100.0, 0.0]]))
    assert record.note == "loss 5.0000"
    record.add(torch.tensor([1]), ["a", "b"], torch.tensor([4.0, 1.0]), torch.zeros(1, 2, dtype=torch.bfloat16))
    result = record.result()
    assert result.losses == {"a": 2.0, "b": 3.0}
    np.testing.assert_allclose(result.probs, [[0, 0.5], [0.5, 0.5], [0.5, 1]])


def test_a_loss_that_is_not_finite_ends_the_epoch() -> None:
    record = EpochRecord((4, 1), CPU)
    record.add(torch.tensor([0, 1]), ["a"], torch.tensor([1.0]), torch.zeros(2, 1))
    with pytest.raises(FloatingPointError, match="the loss is nan after 2 images"):
        record.add(torch.tensor([2, 3]), ["a"], torch.tensor([float("nan")]), torch.zeros(2, 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_and_results_cross_to_a_gpu_and_back(image_bytes, tmp_path: Path) -> None:
    """Would fail if a batch were used before its copy was finished, or its memory while it was still computed with."""
    samples = []
    for seed in range(64):
        (tmp_path / f"{seed}.jpg").write_bytes(image_bytes(seed, 640, 640))
        samples.append(Sample(f"{seed}", tmp_path / f"{seed}.jpg"))
    batches = EvaluationBatches(
        ImageSet("train", tuple(samples)), image_size=512, mean=(0.5,) * 3, std=(0.5,) * 3, batch_size=4, workers=4,
        pin_memory=True,
    )  # fmt: skip
    both = []
    for device in (CPU, torch.device("cuda")):
        passes = predict(Means(), batches, Machine(device, torch.float32))
        both.append(np.concatenate([logits for _, logits, _ in passes]))
    np.testing.assert_allclose(both[0], both[1], atol=1e-4)
