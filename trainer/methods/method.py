"""What a method is to the rest of the trainer: its labels, its loss and its model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from trainer.label_regimes import told_labels
from trainer.labeling import Labeler
from trainer.model import CamClassifier, Classifier
from trainer.objective import Objective
from trainer.session import Run

FloatArray = npt.NDArray[np.float32]


def cam_classifier(run: Run, backbone: nn.Module) -> Classifier:
    """The paper's classifier."""
    return CamClassifier(backbone, num_classes=run.num_classes, boost=run.config.cam_boost)


def same_labels(run: Run, labeler: Labeler, model: Classifier) -> FloatArray:
    """Of a method that learns from the same labels throughout."""
    return told_labels(run, labeler)


@dataclass(frozen=True)
class Method:
    """`initial_labels` are for warm-up, `updated_labels` for the epochs after it: (N, C) float32 in [0, 1], NaN where
    nothing is known. Both must give the same labels however often they are called: a resumed run calls them again.

    `guided`: whether the updated labels follow from the warmed-up classifier, so that they are equal only if it is.
    `stops`: whether the label-free stop rule picks the epoch; it looks for labels of CLIP's that are fitted too well.
    """

    objective: Callable[[Run], Objective]
    initial_labels: Callable[[Run, Labeler], FloatArray] = told_labels
    updated_labels: Callable[[Run, Labeler, Classifier], FloatArray] = same_labels
    model: Callable[[Run, nn.Module], Classifier] = cam_classifier
    guided: bool = False
    stops: bool = True
