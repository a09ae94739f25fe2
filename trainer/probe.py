"""How long each stage of a run will take, from a look at 32 of its images: labelling them, and a step of training.

Nothing of it stays: the model is a copy, rows are thrown away, and no random state moves, so that a run ends with the
same bits with and without it.
"""

import copy
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from trainer import distributed
from trainer.data.loader import TrainingBatches
from trainer.data.pixel_cache import MAX_BYTES, PixelCache
from trainer.engine import train_one_epoch
from trainer.events import emit
from trainer.labeling import Labeler, try_images
from trainer.losses import bce
from trainer.model import normalization
from trainer.objective import LossObjective
from trainer.session import Run
from trainer.training import Training
from trainer.updates import Updates
from trainer.view_policies import VIEWS

NUM_IMAGES = 32
# Fewer images than this are done about as fast as they are probed.
MIN_IMAGES = 200
# A pass backward costs about twice the pass forward (two products of matrices for one), so that a step is three.
PASSES_OF_STEP = 3


@dataclass(frozen=True)
class Costs:
    """Seconds per image, measured. label: CLIP's global view. decode: from file to pixels, all threads together. step:
    a training step on the weak view."""

    label: float
    decode: float
    step: float


def is_worth_a_probe(run: Run) -> bool:
    """Whether a run is new and large enough that its time is asked for."""
    return len(run.train) >= MIN_IMAGES and not run.folder.state and distributed.world_size() == 1


def estimate(run: Run, training: Training, labeler: Labeler) -> dict[str, float]:
    """Seconds by stage, in the order of the stages. Raises what a run raises that cannot reach its labeler or read its
    images."""
    rows = probe_rows(len(run.train))
    label = time_labels(run, labeler, rows) if run.config.labels.startswith("clip") else 0.0
    return forecast(run, Costs(label, *time_step(run, training, rows)))


def probe_rows(num_images: int) -> npt.NDArray[np.int64]:
    """Rows, rising, of at most 32 images, evenly spread: folders differ."""
    return np.unique(np.linspace(0, num_images - 1, min(num_images, NUM_IMAGES)).astype(np.int64))


def time_labels(run: Run, labeler: Labeler, rows: npt.NDArray[np.int64]) -> float:
    """Seconds per image in the labeler, after one image that wakes it up."""
    samples = [run.train.samples[row] for row in rows]
    list(try_images(labeler, samples[:1]))
    start = time.perf_counter()
    list(try_images(labeler, samples))
    return (time.perf_counter() - start) / len(samples)


def time_step(run: Run, training: Training, rows: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Seconds per image of decoding and of a training step, after one step that wakes the device up."""
    config = run.config
    batch_size = min(config.batch_size, NUM_IMAGES)
    images = run.train.subset(np.resize(rows, 2 * batch_size))
    model = copy.deepcopy(training.model)
    mean, std = normalization(model.backbone)
    cache = PixelCache()
    start = time.perf_counter()
    cache.pixels(images, config.image_size, config.workers)
    decode = (time.perf_counter() - start) / len(images)
    batches = TrainingBatches(
        images, image_size=config.image_size, mean=mean, std=std, batch_size=batch_size,
        seed=config.seed, workers=config.workers, two_views=False, cache=cache,
    )  # fmt: skip
    ends: list[float] = []
    devices = [run.machine.device] if run.machine.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        train_one_epoch(
            model,
            LossObjective(bce),
            batches.epoch(0),
            Updates(
                torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.0),
                scaler=run.machine.scaler(),
            ),
            run.machine,
            labels=np.zeros((len(images), run.num_classes), np.float32),
            rows=np.arange(len(images)),
            advance=lambda *_, **__: ends.append(time.perf_counter()),
        )
    return decode, (ends[1] - ends[0]) / batch_size


def forecast(run: Run, costs: Costs) -> dict[str, float]:
    """Seconds by stage. Where all pixels fit into memory they are decoded once, else in each epoch, beside the steps.

    Each pass of evaluation is a third of a step. A crop costs what a whole image does; its number is what the settings
    aim at, of `search` the middle of its band.
    """
    config, num_images = run.config, len(run.train)
    fits = num_images * config.image_size**2 * 3 <= MAX_BYTES
    beside = 0.0 if fits else costs.decode
    forward = max(beside, costs.step / PASSES_OF_STEP)
    validation = forward * (0 if run.validation is None else len(run.validation))
    warmup = num_images * max(beside, costs.step) + validation
    steps = 2 if config.consistency and config.method == "ccd" else 1
    later = num_images * max(beside, steps * costs.step) + validation
    seconds = {
        "labels of whole images": num_images * costs.label,
        "warm-up": num_images * costs.decode * fits + config.warmup_epochs * warmup,
    }
    if config.update and config.method == "ccd":
        larger = costs.decode + forward * (config.view_size / config.image_size) ** 2
        seconds["choice of crops"] = num_images * (forward + larger) if config.view_policy == "cam" else 0.0
        seconds["labels of crops"] = num_images * (config.mean_views + (config.views == "search")) * costs.label
    if config.method == "cdul":
        seconds["labels of tiles"] = num_images * VIEWS * costs.label
    seconds["training"] = (config.epochs - config.warmup_epochs) * later
    return {stage: value for stage, value in seconds.items() if value > 0}


def show_estimate(seconds: dict[str, float], console: Console) -> None:
    """One line for people, an event for programs."""
    parts = ", ".join(f"{stage} {duration(value)}" for stage, value in seconds.items())
    line = f"{'time':<12}about {duration(sum(seconds.values()))}: {parts} (from {NUM_IMAGES} images)"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    emit("estimate", seconds={stage: round(value, 1) for stage, value in seconds.items()})


def duration(seconds: float) -> str:
    """To two units at most: 40 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours + (minutes >= 30), 24)
    return f"{days} d {hours} h"
