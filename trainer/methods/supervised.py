"""Full supervision: the classifier learns from the targets; the upper bound of label-free methods."""

import numpy as np
import numpy.typing as npt

from trainer.labeling import Labeler
from trainer.model import CamClassifier
from trainer.session import Run


def initial_labels(run: Run, labeler: Labeler) -> npt.NDArray[np.float32]:
    """Targets as labels; an entry that the evaluation ignores counts as absent. Raises ValueError without targets."""
    if run.train.targets is None:
        raise ValueError(f"--method supervised needs targets, and {run.data} has none")
    return np.maximum(run.train.targets, 0).astype(np.float32)


def updated_labels(run: Run, labeler: Labeler, model: CamClassifier) -> npt.NDArray[np.float32]:
    """The same: nothing is better than the targets."""
    return initial_labels(run, labeler)
