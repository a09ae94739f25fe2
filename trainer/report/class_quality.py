"""Section 6: how good each class is, or, where nobody knows, how its scores are spread around the threshold."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trainer.report.charts import Chart, curves, histogram
from trainer.report.run_files import GIVEN, FloatArray, RunFiles

TITLE = "Classes one by one"

BINS = 20  # of a score histogram: of 5 % each


@dataclass(frozen=True)
class ClassQuality:
    """With targets: precision (AP), recall and precision at 0.5 in percent, and images that show the class. Without:
    None of them. above: images of at least the threshold. chart: precision over recall, or scores."""

    class_index: int
    average_precision: float | None
    precision: float | None
    recall: float | None
    images: int | None
    above: int
    chart: Chart | None


@dataclass(frozen=True)
class PerClass:
    """name: what the scores are of."""

    rows: tuple[ClassQuality, ...]
    measured: bool
    name: str
    threshold: float


def build(run: RunFiles) -> PerClass | None:
    if run.evaluation is not None and run.precisions:
        return _measured(run)
    scores, name = run.classifier, "classifier's probabilities of the training images"
    if scores is None and run.labels is not None:
        scores, name = run.labels
    if scores is None:
        return None
    known = scores[np.isfinite(scores).all(axis=1)]
    rows = [_spread(known[:, c], run.class_names[c], c) for c in range(known.shape[1])]
    return PerClass(tuple(rows), False, name, GIVEN)


def _measured(run: RunFiles) -> PerClass:
    assert run.evaluation is not None
    logits, targets = run.evaluation
    rows = []
    for c, line in enumerate(run.precisions):
        known = targets[:, c] >= 0
        present, chosen = targets[known, c] == 1, logits[known, c] >= 0
        correct = int((present & chosen).sum())
        chart = _precision_recall(logits[known, c], present, run.class_names[c]) if present.any() else None
        rows.append(
            ClassQuality(
                c,
                float(line["average_precision"]),
                100 * correct / max(int(chosen.sum()), 1),
                100 * correct / max(int(present.sum()), 1),
                int(present.sum()),
                int(chosen.sum()),
                chart,
            )
        )
    rows.sort(key=lambda row: row.average_precision or 0.0)
    return PerClass(tuple(rows), True, f"{len(logits):,} validation images", GIVEN)


def _precision_recall(logits: FloatArray, present: npt.NDArray[np.bool_], name: str) -> Chart:
    from sklearn.metrics import precision_recall_curve  # seconds to import, and not always needed

    precision, recall, _ = precision_recall_curve(present, logits)
    return curves(
        [(name, recall[::-1].tolist(), precision[::-1].tolist())], title=f"Precision over recall of {name}",
        x_label="recall", y_label="precision", x_range=(0, 1), y_range=(0, 1), small=True,
    )  # fmt: skip


def _spread(scores: FloatArray, name: str, c: int) -> ClassQuality:
    counts, edges = np.histogram(scores, bins=BINS, range=(0, 1))
    names = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges)]
    chart = histogram(
        counts.tolist(), names, title=f"Scores of {name}", x_label="score", y_label="images", small=True,
        mark=GIVEN, mark_text=f"{GIVEN}", ends=("0", "1"),
    )  # fmt: skip
    return ClassQuality(c, None, None, None, None, int((scores >= GIVEN).sum()), chart)
