"""What SST and SARB share: their classifier, BCE on what is known, and features that agree within a class.

Chen et al. 2022, https://arxiv.org/abs/2112.10941, and Pu et al. 2022, https://arxiv.org/abs/2203.02172; constants
from the code of both, https://github.com/HCPLab-SYSU/HCP-MLR-PL.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.losses import contrastive, known_bce
from trainer.model import Classifier
from trainer.objective import Objective, Step
from trainer.semantic_decoupling import SemanticClassifier
from trainer.session import Run
from trainer.word_vectors import read_word_vectors

CONTRAST_WEIGHT = 0.05
FIRST_EPOCH = 5  # from which unknown labels are completed


def semantic_classifier(run: Run, backbone: nn.Module) -> Classifier:
    """The published classifier, with the class names' vectors of --word-vectors. Without, they are learned, as the
    labeler gives no embeddings of texts. Raises ValueError for a file that cannot be used.
    """
    words = None
    if run.config.word_vectors is None:
        note = "note: no --word-vectors (GloVe's in the paper): vectors of the class names are learned"
        run.console.print(note, style="yellow", highlight=False, soft_wrap=True)
    else:
        words = torch.from_numpy(read_word_vectors(Path(run.config.word_vectors), run.class_names))
    return SemanticClassifier(backbone, num_classes=run.num_classes, words=words)


class SemanticObjective(Objective):
    """BCE of the known labels, and the contrast of features; the methods add what they complete the labels with."""

    _model: tuple[SemanticClassifier]

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._epoch = 0
        self._step, self._steps = 0, 1

    def attach(self, model: Classifier) -> None:
        assert isinstance(model, SemanticClassifier)
        self._model = (model,)  # in a tuple: as a submodule, its parameters would be trained and saved as ours too

    @property
    def model(self) -> SemanticClassifier:
        return self._model[0]

    @property
    def completes(self) -> bool:
        """Whether unknown labels are completed in this epoch."""
        return self._epoch >= FIRST_EPOCH

    @property
    def ramp(self) -> float:
        """Weight of what learns to complete labels: rises to 1 over the first epoch."""
        return self._step / self._steps if self._epoch == 0 else 1.0

    def begin(self, labels: Tensor) -> None:
        self.model.learn_graph(labels)
        used = int((~labels.isnan()).any(dim=1).sum())
        self._steps = math.ceil(used / self._run.config.batch_size)

    def begin_epoch(self, epoch: int, num_epochs: int) -> None:
        self._epoch, self._step = epoch, 0

    def forward(self, step: Step) -> dict[str, Tensor]:
        self._step += 1
        contrast = contrastive(step.features.float(), step.labels)
        return {
            "label_loss": known_bce(step.logits, step.labels),
            "contrast_loss": self.ramp * CONTRAST_WEIGHT * contrast,
        }
