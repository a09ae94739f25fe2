"""What the processes beside the main one do in a run: open the same data, and then what team.py announces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer import distributed, labeling, run_predictions, team, view_selection
from trainer.config import RunConfig
from trainer.labeling import Labeler
from trainer.model import CamClassifier
from trainer.session import Run, open_run
from trainer.training import Training


def follow_pipeline(data: str, output: Path, config: RunConfig) -> None:
    """The part of every other process in the main one's `run_pipeline`; it prints and writes nothing.

    Raises as `run_pipeline` where it is this process that has no data or device.
    """
    run = open_run(data, output, config, Console(quiet=True))
    training = distributed.main_first(lambda: Training(run))
    with Labeler(run.config, run.class_names) as labeler:
        team.follow(_tasks(run, labeler, training))


def _tasks(run: Run, labeler: Labeler, training: Training) -> dict[str, team.Task]:
    """By the name that the main process announces them with."""
    samples, hashes, model = run.train.samples, run.hashes, training.model

    def score_images(address: str, shares: Sequence[Sequence[int]]) -> None:
        team.hand_in(shares, lambda rows: labeling.answers_of_images(labeler.at(address), samples, hashes, rows))

    def score_views(address: str, shares: Sequence[Sequence[Any]]) -> None:
        team.hand_in(shares, lambda boxes: labeling.answers_of_views(labeler.at(address), samples, hashes, boxes))

    def predict_logits(selection: run_predictions.Selection, shares: Sequence[Sequence[int]]) -> None:
        team.hand_in(shares, lambda numbers: run_predictions.logits_of_batches(run, model, selection, numbers))

    def views(selection: run_predictions.Selection, threshold: float, shares: Sequence[Sequence[int]]) -> None:
        assert isinstance(model, CamClassifier)
        team.hand_in(shares, lambda numbers: view_selection.views_of_batches(run, model, selection, threshold, numbers))

    return {
        "score_images": score_images,
        "score_views": score_views,
        "predict_logits": predict_logits,
        "views": views,
        "begin": training.begin,
        "take_over": training.take_over,
        "train": training.train_epoch,
    }
