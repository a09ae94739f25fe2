"""`ccd evaluate`: how good a trained classifier is on the images of a data set whose targets are known."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainer.config import MAX_WORKERS, EvaluationConfig, RunConfig
from trainer.data.index import build_index
from trainer.data.loader import EvaluationBatches
from trainer.data.sample import ImageSet
from trainer.engine import FloatArray, Machine, predict_logits
from trainer.files import write_json
from trainer.metrics import average_precisions, classification_figures
from trainer.progress import track
from trainer.session import DataError, open_splits
from trainer.trained_model import TrainedModel, open_model

WORKERS = min(os.cpu_count() or 1, MAX_WORKERS)

TITLES = {
    "map": "mAP",
    "voc_map": "mAP, interpolated (VOC)",
    "cf1": "CF1 at 0.5",
    "of1": "OF1 at 0.5",
    "cf1_top3": "CF1 of the top 3",
    "of1_top3": "OF1 of the top 3",
    "calibration_error": "calibration error",
}


def evaluate_model(model: Path, data: str, config: EvaluationConfig, console: Console) -> dict[str, Any]:
    """Prints a table of figures in percent and returns what --output gets: the figures, and AP by class.

    Raises session.DataError for unusable data, ValueError for an unusable model or one of other classes.
    """
    if config.batch_size < 1:
        raise ValueError(f"--batch-size {config.batch_size} must be at least 1")
    machine = Machine.choose(RunConfig(device=config.device))
    trained = open_model(model, machine.device)
    class_names, images = _open_split(data, config)
    _check_classes(trained, class_names, data)
    images, failed = _usable(images, console)
    assert images.targets is not None
    logits = _logits(trained, images, machine, config.batch_size, console)
    precisions = average_precisions(logits, images.targets)
    positives = (images.targets == 1).sum(axis=0)
    report = {
        "model": str(model),
        "data": data,
        "split": images.name,
        "difficult": config.difficult,
        "all_images": config.all_images,
        "images": len(images),
        "images_failed": failed,
        "map": 100 * float(precisions.mean()),
        **classification_figures(logits, images.targets),
        "per_class": [
            {"class": name, "average_precision": 100 * float(precision), "positives": int(count)}
            for name, precision, count in zip(class_names, precisions, positives, strict=True)
        ],
    }
    console.print(_table(report))
    if config.output is not None:
        write_json(config.output, report)
    return report


def _open_split(data: str, config: EvaluationConfig) -> tuple[tuple[str, ...], ImageSet]:
    """Class names and the wanted images, which have targets."""
    splits = open_splits(data, config)
    images = splits.train if config.split == "train" else splits.validation
    if images is None:
        raise DataError(f"{data} has no validation images; give --split train, or other data")
    if images.targets is None:
        raise DataError(f"{data} has no targets for its {images.name} images, so that nothing can be evaluated on them")
    return splits.class_names, images


def _check_classes(trained: TrainedModel, class_names: tuple[str, ...], data: str) -> None:
    """Raises ValueError, in one line that names the difference, unless model and data have the same classes in the same
    order; of a model without names only their number is known."""
    if trained.num_classes != len(class_names) and trained.class_names is None:
        raise ValueError(f"the model has {trained.num_classes} classes and {data} has {len(class_names)}")
    names = trained.class_names or class_names
    advice = "; give the model's, in its order, with --classes"
    if set(names) != set(class_names):
        of_model = _some([name for name in names if name not in class_names])
        of_data = _some([name for name in class_names if name not in names])
        raise ValueError(f"only the model has {of_model}, only {data} has {of_data}{advice}")
    for column, (ours, theirs) in enumerate(zip(names, class_names, strict=True), start=1):
        if ours != theirs:
            raise ValueError(f"class {column} is {ours} for the model, but {theirs} in {data}{advice}")


def _some(names: Sequence[str]) -> str:
    """The first three of them."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "no other class"


def _usable(images: ImageSet, console: Console) -> tuple[ImageSet, int]:
    """The images that can be decoded, and how many cannot: each is named."""
    with track(console, f"checking {images.name} images", len(images)) as advance:
        index = build_index(images, workers=WORKERS, progress=advance)
    for row in index.failures():
        line = f"left out {row.image_id}: {row.reason}"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if not index.ok.any():
        raise DataError(f"no {images.name} image can be used")
    return images.subset(np.flatnonzero(index.ok)), len(index.failures())


def _logits(trained: TrainedModel, images: ImageSet, machine: Machine, batch_size: int, console: Console) -> FloatArray:
    batches = EvaluationBatches(
        images, image_size=trained.image_size, mean=trained.mean, std=trained.std,
        batch_size=batch_size, workers=WORKERS, pin_memory=machine.is_cuda,
    )  # fmt: skip
    with track(console, "predicting", len(images)) as advance:
        return predict_logits(trained.classifier, batches, machine, num_images=len(images), advance=advance)


def _table(report: dict[str, Any]) -> Table:
    title = f"{report['model']} on {report['images']} {report['split']} images of {report['data']}"
    table = Table(title=Text(title), show_header=False, title_justify="left")
    for key, name in TITLES.items():
        table.add_row(name, f"{report[key]:.1f} %")
    return table
