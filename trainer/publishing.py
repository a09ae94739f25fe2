"""The tables of a run with labels."""

from trainer.label_table import LabelTable
from trainer.published_labels import publish
from trainer.session import Run


def publish_labels(run: Run) -> LabelTable:
    """Writes labels/labels.parquet and completes views.parquet."""
    return publish(run.folder.root, split=run.train.name)
