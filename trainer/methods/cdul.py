"""CLIP-driven unsupervised learning: labels of the whole image and of 3 x 3 tiles, which then follow the classifier.

Abdelfattah et al. 2023, https://arxiv.org/abs/2307.16634 (paper Table 1, "CDUL"). The authors published no code; the
step between epochs, and sigmoid outputs with cross-entropy, are choices of ours. Shapes: N images, C classes.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer import labeling
from trainer.clip_labels import global_probabilities
from trainer.labeling import Labeler
from trainer.losses import bce
from trainer.methods.latent import follow, logit
from trainer.methods.method import Method
from trainer.model import Classifier
from trainer.objective import Objective, Step
from trainer.progress import track
from trainer.pseudo_labels import RowStore, load_rows, save_rows
from trainer.session import Run
from trainer.view_policies import VIEWS, grid_boxes

FloatArray = npt.NDArray[np.float32]


class CdulObjective(Objective):
    """Cross-entropy to the latent labels, which take a step towards the predictions after each epoch of training."""

    latent: Tensor
    predictions: Tensor

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._config = run.config
        shape = len(run.train), run.num_classes
        self.register_buffer("latent", torch.zeros(shape))
        self.register_buffer("predictions", torch.zeros(shape))
        self._epoch = 0

    def begin(self, labels: Tensor) -> None:
        self.latent.copy_(logit(labels.nan_to_num(0.0)))

    def begin_epoch(self, epoch: int, num_epochs: int) -> None:
        self._epoch = epoch

    def forward(self, step: Step) -> dict[str, Tensor]:
        self.predictions[step.indices] = step.logits.detach().sigmoid()
        return {"label_loss": bce(step.logits, self.latent[step.indices].sigmoid())}

    def end_epoch(self) -> None:
        if self._epoch >= self._config.warmup_epochs:
            self.latent.copy_(follow(self.latent, self.predictions, sigma=self._config.latent_sigma))


def initial_labels(run: Run, labeler: Labeler) -> FloatArray:
    """(N, C): mean of CLIP's probabilities of the image and of what its tiles come to (eq. 1-6).

    Writes labels/initial_raw.npy, tiles.npy (9 N, C), initial.npy.
    """
    path = run.folder.path("labels/initial.npy")
    if not run.folder.done("initial_labels"):
        whole_NC = global_probabilities(run, labeler)
        with run.folder.stage("initial_labels"):
            usable = np.flatnonzero(np.isfinite(whole_NC).all(axis=1))
            tiles_NTC = _score_tiles(run, labeler, usable).reshape(len(run.train), VIEWS, run.num_classes)
            save_rows(path, combine(whole_NC, tiles_NTC, threshold=run.config.tile_threshold))
    return load_rows(path)


def updated_labels(run: Run, labeler: Labeler, model: Classifier) -> FloatArray:
    """The same: the objective moves them."""
    return initial_labels(run, labeler)


def combine(whole: FloatArray, tiles: FloatArray, *, threshold: float) -> FloatArray:
    """Mean of whole (N, C) and the tiles' (N, T, C) aggregate, all in [0, 1]: of a class that a tile has with at least
    the threshold the largest probability, of another the smallest (eq. 5-6)."""
    largest_NC, smallest_NC = tiles.max(axis=1), tiles.min(axis=1)
    tiles_NC = np.where(largest_NC >= threshold, largest_NC, smallest_NC)
    labels_NC: FloatArray = ((whole + tiles_NC) / 2).astype(np.float32)
    return labels_NC


def _score_tiles(run: Run, labeler: Labeler, usable: npt.NDArray[np.intp]) -> FloatArray:
    """(9 N, C), the tiles of an image one after the other; NaN for images that are not `usable`, whose whole view the
    labeler rejected."""
    store = RowStore(run.folder.path("labels/tiles.npy"), rows=VIEWS * len(run.train), columns=run.num_classes)
    images = usable.tolist()
    boxes = {image: grid_boxes(*map(int, run.sizes[image])) for image in images}
    rows = {image: np.arange(VIEWS * image, VIEWS * (image + 1)) for image in images}
    with track(run.console, "labelling tiles", len(images)) as advance:
        labeling.score_views(labeler, run.train.samples, run.hashes, boxes, rows, store, advance=advance)
    return store.rows()


METHOD = Method(CdulObjective, initial_labels, updated_labels)
