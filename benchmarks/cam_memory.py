"""Memory of the pass that looks for crops: activation maps of all images at the view size, one batch at a time.

python -m benchmarks.cam_memory --images 600

The pass over that many images and over three times as many: the peak must be the same but for what the allocator does
from run to run, since a pass holds the batch at hand, the next one and the network's own maps. Only the boxes that it
finds grow, by some hundred bytes an image.
"""

from dataclasses import asdict
from typing import Annotated

import cyclopts
import numpy as np
import torch

from benchmarks.peak_memory import peak_memory
from benchmarks.report import show
from benchmarks.trainee import Trainee, opened
from trainer.methods.method import cam_classifier
from trainer.model import CamClassifier, create_backbone
from trainer.view_selection import select_views


def main(
    trainee: Annotated[Trainee, cyclopts.Parameter(name="*")] = Trainee(),  # noqa: B008
    *,
    images: int = 600,
    view_size: int = 640,
) -> None:
    """Prints a table and a line of JSON.

    Parameters
    ----------
    images
        In the first pass; a second one has three times as many.
    view_size
        Side of the images in pixels.
    """
    _pass(trainee, 2 * trainee.batch_size, view_size)  # warm: libraries and threads take their memory once
    few, many = (_pass(trainee, number, view_size) for number in (images, 3 * images))
    batch = 2 * trainee.batch_size * 3 * view_size**2 * 4  # the trainer predicts in batches of twice the size, float32
    rows: dict[str, list[float | str]] = {
        f"peak of {images} images": [few / 2**20],
        f"peak of {3 * images} images": [many / 2**20],
        "one batch of pixels": [batch / 2**20],
        "growth of the peak": [f"{many / few - 1:+.1%}"],
    }
    figures = {"images": images, "peak_bytes": [few, many], "batch_bytes": batch}
    title = f"cam_memory: {trainee.backbone} at {view_size} px, batches of {2 * trainee.batch_size}"
    show("cam_memory", title, ["MiB"], rows, {"trainee": asdict(trainee), "view_size": view_size, **figures})


def _pass(trainee: Trainee, num_images: int, view_size: int) -> int:
    """Peak resident bytes of the process."""
    with opened(trainee, num_images, view_size=view_size) as run:
        torch.manual_seed(0)
        model = cam_classifier(run, create_backbone(run.config.backbone, weights="none")).to(run.machine.device)
        assert isinstance(model, CamClassifier)
        with peak_memory() as peak:
            select_views(run, model, usable=np.ones(num_images, bool))
    return peak.host


if __name__ == "__main__":
    cyclopts.run(main)
