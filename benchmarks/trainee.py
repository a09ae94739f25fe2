"""A training run to measure with: photographs on disk, random labels, the paper's method, no labeler."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from rich.console import Console

from benchmarks import material
from trainer.config import MAX_WORKERS, RunConfig, resolve
from trainer.data.pixel_cache import PixelCache
from trainer.data.sample import ImageSet, Sample
from trainer.engine import Machine
from trainer.run_folder import RunFolder
from trainer.session import Run

NUM_PHOTOS = 64  # different ones; more images are the same again
NUM_CLASSES = 20  # VOC's


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """As for `ccd run`, where not explained; weights are random."""

    device: str = "auto"
    backbone: str = "demo"
    image_size: int = 96
    batch_size: int = 32
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    workers: int = min(os.cpu_count() or 1, MAX_WORKERS)


@contextmanager
def opened(trainee: Trainee, num_images: int, *, view_size: int = 640) -> Iterator[Run]:
    """A run over that many images, in a folder that is gone afterwards. Its pixels are never cached: sets that need
    training at full size do not fit into memory."""
    settings = {name: getattr(trainee, name) for name in ("device", "backbone", "image_size", "batch_size")}
    wanted = RunConfig(
        **settings, precision=trainee.precision, workers=trainee.workers, view_size=view_size, backbone_weights="none"
    )
    config = resolve(wanted, data_format="folder", num_classes=NUM_CLASSES, prompt="a photo of the {}")
    with TemporaryDirectory() as name:
        folder = RunFolder(Path(name) / "run")
        photos = [Path(name) / f"{seed}.jpg" for seed in range(min(NUM_PHOTOS, num_images))]
        for seed, path in enumerate(photos):
            path.write_bytes(material.photo(seed))
        samples = tuple(Sample(f"{number}", photos[number % len(photos)]) for number in range(num_images))
        sizes = np.tile(np.array([material.PHOTO_WIDTH, material.PHOTO_HEIGHT], np.int32), (num_images, 1))
        try:
            yield Run(
                data="photos", config=config, folder=folder, console=Console(quiet=True),
                machine=Machine.choose(config), cache=PixelCache(max_bytes=0),
                class_names=tuple(f"class {number}" for number in range(NUM_CLASSES)),
                train=ImageSet("train", samples), hashes=(), sizes=sizes, validation=None, failed=(), published=None,
            )  # fmt: skip
        finally:
            folder.close()
