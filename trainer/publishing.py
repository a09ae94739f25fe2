"""The last steps of a run with labels: its tables, and what its classifier thinks of the images it learned from."""

import numpy as np

from trainer.label_table import LabelTable
from trainer.pseudo_labels import save_rows
from trainer.published_labels import publish
from trainer.run_thresholds import CLASSIFIER, offer_thresholds
from trainer.session import Run
from trainer.training import Training


def publish_labels(run: Run) -> LabelTable:
    """Writes labels/labels.parquet and completes views.parquet."""
    return publish(run.folder.root, split=run.train.name)


def publish_classifier(run: Run, training: Training) -> None:
    """Writes labels/classifier.npy, (N, C) float32: the probabilities of the training images by the kept weights, for
    the review's disputes and for thresholds, which it offers."""
    training.load_kept_weights()
    logits_NC = training.logits_of(run.train, "looking back")
    save_rows(run.folder.path(CLASSIFIER), np.asarray(1 / (1 + np.exp(-logits_NC)), np.float32))
    offer_thresholds(run.folder.root)
