"""The benchmark of training runs to its end, and both loops do the same work."""

import json

import pytest
import torch

from benchmarks import cam_memory, training_throughput
from benchmarks.trainee import Trainee, opened

SMALL = Trainee(device="cpu", backbone="resnet10t", image_size=32, batch_size=4, workers=1)


@pytest.mark.slow
def test_training_throughput(capsys: pytest.CaptureFixture[str]) -> None:
    """A figure that is claimed must come out of the program that is named beside it."""
    training_throughput.main(SMALL, seconds=0.1)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(figures["rounds"]) == training_throughput.ROUNDS
    assert all(rate > 0 for rate in figures["images_per_second"].values())
    assert set(figures["ratios"]) == {"CCD epoch / plain timm loop", "loading alone / model alone"}
    assert figures["peak_bytes"]["host"] > 0


@pytest.mark.slow
def test_cam_memory(capsys: pytest.CaptureFixture[str]) -> None:
    cam_memory.main(SMALL, images=16, view_size=64)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["batch_bytes"] == 8 * 3 * 64 * 64 * 4


def test_ready_batches_have_each_image_once_and_two_views() -> None:
    """Would fail if "model alone" did less than the epoch that it is compared with."""
    with opened(SMALL, 10) as run:
        batches = list(training_throughput.CcdEpoch(run, torch.zeros(10, run.num_classes))._ready())
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(10))
    assert all(len(batch.weak) == len(batch.strong) == len(batch.indices) for batch in batches)
