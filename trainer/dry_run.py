"""`ccd run --dry-run`: CLIP's labels of 32 images, to look at before hours of work. Writes nothing."""

import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainer.config import RunConfig, resolve
from trainer.data.index import build_index
from trainer.engine import Machine
from trainer.events import emit
from trainer.first_lines import announce, show_failures
from trainer.labeling import Labeler, try_images
from trainer.probe import duration, probe_rows
from trainer.session import data_format, open_splits

# Classes shown of each image.
TOP = 3


def dry_run(data: str, config: RunConfig, console: Console) -> tuple[tuple[str, str], ...]:
    """Labels images from all over the data set and shows each with its most probable classes, before debiasing, which
    needs all images. Returns (id, reason) of those that could not be labelled.

    Raises as `pipeline.run_pipeline`.
    """
    splits = open_splits(data, config)
    names = splits.class_names
    settings = resolve(config, data_format=data_format(data), num_classes=len(names), prompt=splits.prompt)
    announce(data, splits, settings, None, Machine.choose(settings), console)
    images = splits.train.subset(probe_rows(len(splits.train)))
    index = build_index(images, workers=settings.workers, progress=lambda _: None)
    usable = images.subset(np.flatnonzero(index.ok))
    failed = [(row.image_id, row.reason) for row in index.failures()]
    rows: dict[int, Any] = {}
    with Labeler(settings, names) as labeler:
        clip = labeler.check(None)["model"]  # its start is not the images' time
        start = time.perf_counter()
        for result in try_images(labeler, usable.samples):
            if result.error is None:
                rows[int(result.id)] = result.scores
            else:
                failed.append((usable.samples[int(result.id)].image_id, f"labeler: {result.error.message}"))
        seconds = time.perf_counter() - start
    title = f"{len(rows)} images as {clip} sees them"
    table = Table("image", "most probable classes", title=Text(title), title_justify="left")
    for row in sorted(rows):
        probs_C, image_id = rows[row], usable.samples[row].image_id
        best = np.argsort(-probs_C, kind="stable")[:TOP]
        table.add_row(Text(image_id), Text(", ".join(f"{names[c]} {probs_C[c]:.2f}" for c in best)))
        probabilities = {name: round(float(value), 6) for name, value in zip(names, probs_C, strict=True)}
        emit("label", image_id=image_id, probabilities=probabilities)
    console.print(table)
    show_failures(failed, console, limit=len(failed))
    if rows:
        time_of_all = duration(seconds / len(usable) * len(splits.train))
        console.print(f"labels of all {len(splits.train):,} whole images: about {time_of_all}", highlight=False)
    return tuple(failed)
