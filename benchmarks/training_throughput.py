"""Images per second of one CCD epoch over a plain timm loop with the same two forward passes; loading; peak memory.

python -m benchmarks.training_throughput --backbone resnet50 --image-size 448 --batch-size 16 --seconds 60

Both read the same photographs from disk, augment them alike, and train the same backbone with the same losses, in the
same precision and with as many workers: threads of the trainer, processes of a DataLoader (plain_loop.py). "Loading
alone" are the trainer's batches that nobody computes with, "model alone" its epoch over batches that are ready. All are
timed in turn, five rounds in one run, and a ratio is the median of the rounds': machines are noisy.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import repeat
from typing import Annotated

import cyclopts
import numpy as np
import torch

from benchmarks.peak_memory import Peak, peak_memory
from benchmarks.plain_loop import PlainLoop
from benchmarks.report import show
from benchmarks.trainee import Trainee, opened
from trainer.data.loader import Batch, TrainingBatches
from trainer.engine import train_one_epoch
from trainer.methods.ccd import CcdObjective
from trainer.methods.method import cam_classifier
from trainer.model import create_backbone, normalization
from trainer.optimizer import create_optimizer
from trainer.session import Run
from trainer.updates import Updates

ROUNDS = 5

CCD, PLAIN, LOADING, MODEL = "CCD epoch", "plain timm loop", "loading alone", "model alone"


class CcdEpoch:
    """The trainer's own epoch after warm-up, over all images or over one batch again and again."""

    def __init__(self, run: Run, labels: torch.Tensor) -> None:
        """labels: (N, C) in [0, 1]."""
        backbone = create_backbone(run.config.backbone, weights="none")
        self._run, self._labels = run, labels
        self._model = cam_classifier(run, backbone).to(run.machine.device).to(memory_format=torch.channels_last)
        self._objective = CcdObjective(run)
        self._updates = Updates(create_optimizer(self._model, self._objective, run.config))
        mean, std = normalization(backbone)
        self._batches = TrainingBatches(
            run.train, image_size=run.config.image_size, mean=mean, std=std, batch_size=run.config.batch_size,
            seed=0, workers=run.config.workers, two_views=True, pin_memory=run.machine.is_cuda,
        )  # fmt: skip

    def train(self) -> None:
        self._train(self._batches.epoch(0))

    def train_on_ready_batches(self) -> None:
        self._train(self._ready())

    def load(self) -> None:
        for _ in self._batches.epoch(0):
            pass

    def _ready(self) -> Iterator[Batch]:
        """The images of the first batch, as often as there are batches; each image has its index once."""
        first = next(self._batches.epoch(0))
        indices = torch.split(torch.arange(len(self._run.train)), len(first.indices))
        for part, batch in zip(indices, repeat(first), strict=False):
            strong = None if batch.strong is None else batch.strong[: len(part)]
            yield Batch(batch.weak[: len(part)], strong, part)

    def _train(self, batches: Iterator[Batch]) -> None:
        train_one_epoch(
            self._model, self._objective, batches, self._updates, self._run.machine,
            labels=self._labels.numpy(), rows=np.arange(len(self._labels)), advance=lambda count, note="": None,
        )  # fmt: skip
        if self._run.machine.is_cuda:
            torch.cuda.synchronize(self._run.machine.device)


def main(
    trainee: Annotated[Trainee, cyclopts.Parameter(name="*")] = Trainee(),  # noqa: B008
    *,
    seconds: float = 10.0,
) -> None:
    """Prints a table and a line of JSON.

    Parameters
    ----------
    seconds
        Time per measurement; there are four, five times over.
    """
    num_images = _images_for(trainee, seconds)
    with opened(trainee, num_images) as run:
        labels = torch.rand(num_images, run.num_classes, generator=torch.Generator().manual_seed(0))
        ccd = CcdEpoch(run, labels)
        with peak_memory() as peak:  # before there is a second model
            ccd.train()
        plain = PlainLoop(
            trainee.backbone, [sample.path for sample in run.train.samples], labels, run.machine,
            image_size=trainee.image_size, batch_size=trainee.batch_size, workers=trainee.workers,
        )  # fmt: skip
        plain.epoch()  # warm, as the other is
        measurements = {CCD: ccd.train, PLAIN: plain.epoch, LOADING: ccd.load, MODEL: ccd.train_on_ready_batches}
        rounds = [{name: _rate(step, num_images) for name, step in measurements.items()} for _ in range(ROUNDS)]
    _report(trainee, rounds, peak)


def _images_for(trainee: Trainee, seconds: float) -> int:
    """As many whole batches as an epoch does in that time, at least two."""
    trial = 3 * trainee.batch_size
    with opened(trainee, trial) as run:
        ccd = CcdEpoch(run, torch.zeros(trial, run.num_classes))
        ccd.train()
        rate = _rate(ccd.train, trial)
    return trainee.batch_size * max(2, round(rate * seconds / trainee.batch_size))


def _rate(step: Callable[[], None], num_images: int) -> float:
    start = time.perf_counter()
    step()
    return num_images / (time.perf_counter() - start)


def _report(trainee: Trainee, rounds: list[dict[str, float]], peak: Peak) -> None:
    rates = {name: statistics.median(rates[name] for rates in rounds) for name in rounds[0]}
    ratios = {
        f"{one} / {other}": statistics.median(rates[one] / rates[other] for rates in rounds)
        for one, other in ((CCD, PLAIN), (LOADING, MODEL))
    }
    memory = {"peak memory, MiB": peak.host / 2**20} | ({"on the GPU, MiB": peak.gpu / 2**20} if peak.gpu else {})
    rows = {name: [rate, "", ""] for name, rate in rates.items()}
    rows |= {name: ["", ratio, ""] for name, ratio in ratios.items()}
    rows |= {name: ["", "", value] for name, value in memory.items()}
    title = f"training_throughput: {trainee.backbone} at {trainee.image_size} px, batches of {trainee.batch_size}"
    figures = {"images_per_second": rates, "ratios": ratios, "rounds": rounds, "peak_bytes": asdict(peak)}
    show("training_throughput", title, ["images/s", "ratio", "memory"], rows, {"trainee": asdict(trainee), **figures})


if __name__ == "__main__":
    cyclopts.run(main)
