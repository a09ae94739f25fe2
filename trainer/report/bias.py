"""Section 2: how sure CLIP is of each class where it is sure at all, before and after debiasing."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.report.label_figures import debiased_means
from trainer.report.run_files import RunFiles

TITLE = "Class bias"


@dataclass(frozen=True)
class BiasRow:
    """One class. before and after: mean label in [0, 1]; None where no image is confidently of the class."""

    class_index: int
    before: float | None
    after: float | None
    images: int


@dataclass(frozen=True)
class Bias:
    """rows: from the lowest bias. debiased: whether the run divided by it."""

    rows: tuple[BiasRow, ...]
    debiased: bool
    images: int


def build(run: RunFiles) -> Bias | None:
    facts = run.bias
    if facts is None or run.clip is None:
        return None
    labels = run.initial
    after: npt.NDArray[np.float64] = np.full(len(run.class_names), np.nan)
    if labels is not None:
        gate = {"max_entropy": facts["max_entropy"], "normalized": facts["entropy_unit"] == "normalized"}
        after = debiased_means(run.clip, labels, **gate)
    rows = [
        BiasRow(c, bias if count else None, None if np.isnan(after[c]) else float(after[c]), count)
        for c, (bias, count) in enumerate(zip(facts["bias"], facts["counts"], strict=True))
    ]
    rows.sort(key=lambda row: (row.before is not None, row.before or 0.0))
    return Bias(tuple(rows), run.settings["debias"], facts["images"])
