"""Training methods, one file each. A method says which labels the classifier learns from, before and after warm-up."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.labeling import Labeler
from trainer.methods import ccd, supervised
from trainer.model import CamClassifier
from trainer.session import Run

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Method:
    """Both functions return labels (N, C) float32 in [0, 1]; rows of NaN are left out of training.

    Both must give the same labels however often they are called: a resumed run calls them again.
    """

    initial_labels: Callable[[Run, Labeler], FloatArray]
    updated_labels: Callable[[Run, Labeler, CamClassifier], FloatArray]


METHODS: dict[str, Method] = {
    "ccd": Method(ccd.initial_labels, ccd.updated_labels),
    "supervised": Method(supervised.initial_labels, supervised.updated_labels),
}
