"""What a run's classifier says of the run's images; all processes predict, each every so-manieth batch.

A batch is composed as in one process, so that on a CPU each image has the same bits whatever their number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from trainer import team
from trainer.data.loader import EvaluationBatches
from trainer.engine import FloatArray, in_order, predict
from trainer.model import Classifier, normalization
from trainer.progress import track
from trainer.session import Run

# Images of a process between two gatherings: enough that loading seldom starts anew.
ROUND_IMAGES = 2048


@dataclass(frozen=True, eq=False)
class Selection:
    """Images of a run: those of a split, of them the `rows` (all when None), squashed to `size` pixels."""

    split: Literal["train", "validation"]
    size: int
    rows: npt.NDArray[np.int64] | None = None

    def batches(self, run: Run, model: Classifier) -> EvaluationBatches:
        images = run.train if self.split == "train" else run.validation
        assert images is not None
        mean, std = normalization(model.backbone)
        reused = self.size == run.config.image_size  # pixels of another size are needed once: not worth the memory
        return EvaluationBatches(
            images if self.rows is None else images.subset(self.rows), image_size=self.size, mean=mean, std=std,
            batch_size=2 * run.config.batch_size, workers=run.config.workers, cache=run.cache if reused else None,
            pin_memory=run.machine.is_cuda,
        )  # fmt: skip

    def batches_per_round(self, run: Run) -> int:
        return max(1, ROUND_IMAGES // (2 * run.config.batch_size))


def predict_logits(run: Run, model: Classifier, selection: Selection, *, title: str) -> FloatArray:
    """Main process: logits (N, C) float32 of the selected images, in their order, each predicted once."""
    batches = selection.batches(run, model)
    results = team.shared(
        "predict_logits", range(len(batches)), partial(logits_of_batches, run, model, selection), selection,
        per_round=selection.batches_per_round(run),
    )  # fmt: skip
    parts = []
    with track(run.console, title, len(batches.image_set)) as advance:
        for indices, logits_BC in results:
            parts.append((indices, logits_BC))
            advance(len(indices))
    return in_order(parts, len(batches.image_set))


def logits_of_batches(
    run: Run, model: Classifier, selection: Selection, numbers: Sequence[int]
) -> Iterator[tuple[npt.NDArray[np.int64], FloatArray]]:
    """Positions among the selected images (B,) and logits (B, C) of the batches of these numbers."""
    for indices, logits_BC, _ in predict(model, selection.batches(run, model).only(numbers), run.machine):
        yield indices, logits_BC
