"""The first lines of a run: what it found, with what it works and where the results go; before any image is opened."""

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from trainer import distributed
from trainer.config import Settings
from trainer.data.sample import DataSplits
from trainer.engine import Machine
from trainer.events import emit

# Names of classes, and of images that cannot be used, on the terminal; all are in the run's files.
MAX_NAMES = 10


def announce(
    data: str, splits: DataSplits, settings: Settings, output: Path | None, machine: Machine, console: Console
) -> None:
    """Prints device, CLIP, images, classes and, where there is one, the run's folder."""
    names = splits.class_names
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    clip = f"labeler at {settings.labeler}" if settings.labeler else f"own labeler with {settings.clip}"
    clip = f"{clip}, views of {settings.view_size} px" if settings.labels.startswith("clip") else "is not asked"
    facts = {
        "images": _images_found(splits),
        "classes": f"{len(names)}: {', '.join(names[:MAX_NAMES])}{more}",
        "CLIP": clip,
        "classifier": f"{settings.backbone} at {settings.image_size} px",
        "device": device_name(machine.device) + _company(),
    }
    if output is not None:
        facts["results"] = str(output.resolve())
    for name, fact in facts.items():
        console.print(f"{name:<12}{fact}", markup=False, highlight=False, soft_wrap=True)
    emit(
        "run",
        data=data,
        output=None if output is None else str(output.resolve()),
        device=str(machine.device),
        clip=clip,
        backbone=settings.backbone,
        classes=list(names),
        images_found=len(splits.train) + (0 if splits.validation is None else len(splits.validation)),
        skipped=len(splits.skipped),
    )


def _company() -> str:
    size = distributed.world_size()
    return f", {size} processes" if size > 1 else ""


def _images_found(splits: DataSplits) -> str:
    found = f"{len(splits.train):,} found"
    if splits.validation is not None:
        found += f" to train on, {len(splits.validation):,} to validate on"
    return found + (f"; {len(splits.skipped):,} that cannot be used" if splits.skipped else "")


def show_failures(failed: Sequence[tuple[str, str]], console: Console, *, limit: int = MAX_NAMES) -> None:
    """The first images that cannot be used, each with its reason, and how many more there are."""
    for image_id, reason in failed[:limit]:
        line = f"left out {image_id}: {reason}"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(failed) > limit:
        console.print(f"and {len(failed) - limit:,} more, which failed.csv lists", style="yellow", highlight=False)
    for image_id, reason in failed:
        emit("failed", image_id=image_id, reason=reason)


def device_name(device: torch.device) -> str:
    """As people know it: the graphics card's name, or the number of processors."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"
