"""Section 3: how many labels images have, how often each class is given, and which classes come together."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.report.charts import Chart, histogram
from trainer.report.label_figures import Pair, inseparable, together
from trainer.report.run_files import RunFiles

TITLE = "Labels"

# Images with more labels than this share the last column of the histogram.
MOST_LABELS = 10
# Classes above which a matrix can no longer be read; the pairs are still listed.
MAX_MATRIX = 80
# Shares below this are not drawn: they would be as pale as the paper.
LEAST_SHARE = 0.02


class Cell(NamedTuple):
    """Of the images of class `row`, `share` in [0, 1] has class `column` too."""

    row: int
    column: int
    share: float


@dataclass(frozen=True)
class LabelStatistics:
    """name: which labels. counts: images by class. cells: the matrix, None where there are too many classes."""

    name: str
    images: int
    per_image: Chart
    counts: tuple[int, ...]
    cells: tuple[Cell, ...] | None
    pairs: tuple[Pair, ...]


def build(run: RunFiles) -> LabelStatistics | None:
    given = run.given_labels
    if run.labels is None or given is None or not len(given):
        return None
    labels_N = np.minimum(given.sum(axis=1), MOST_LABELS)
    counts = np.bincount(labels_N, minlength=int(labels_N.max()) + 1).tolist()
    names = [f"{MOST_LABELS}+" if i == MOST_LABELS else str(i) for i in range(len(counts))]
    chart = histogram(counts, names, title="Labels per image", x_label="labels", y_label="images")
    return LabelStatistics(
        run.labels.name,
        len(given),
        chart,
        tuple(given.sum(axis=0).tolist()),
        _cells(given) if given.shape[1] <= MAX_MATRIX else None,
        tuple(inseparable(given)),
    )


def _cells(given: npt.NDArray[np.bool_]) -> tuple[Cell, ...]:
    shares_CC = together(given)
    return tuple(Cell(int(i), int(j), float(shares_CC[i, j])) for i, j in np.argwhere(shares_CC >= LEAST_SHARE))
