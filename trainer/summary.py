"""What a run came to: summary.json, per_class.csv, and the table that is printed at the end."""

import csv
import io
import shlex
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainer.classifier_outputs import write_evaluation
from trainer.files import write_atomically, write_json
from trainer.label_table import LabelTable
from trainer.methods import ccd
from trainer.metrics import average_precisions, classification_figures, mean_average_precision
from trainer.session import Run
from trainer.training import Training
from trainer.view_policies import VIEWS


def summarise(run: Run, training: Training, quality: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Writes summary.json and returns it; `quality` is what `evaluate` measured."""
    state = run.folder.state
    views = state.get("views", {})
    rejected = state.get("initial_labels", {}).get("rejected", [])
    summary = {
        "data": run.data,
        "constants": run.config.constants,
        "method": run.config.method,
        "modules": {name: getattr(run.config, name) for name in ("update", "debias", "consistency")},
        "seed": run.config.seed,
        "images": len(run.train) - len(rejected),
        "images_validation": 0 if run.validation is None else len(run.validation),
        "images_failed": len(run.failed) + len(rejected),
        "classes": list(run.class_names),
        "labeler": state.get("labeler", {}),
        "corrections": state.get("corrections", {}).get("entries", 0),
        "clip_forward_passes": _clip_forward_passes(run, views),
        "seconds": run.folder.seconds(),
        "mean_views_per_image": views.get("count", 0) / max(views.get("images", 1), 1),
        "view_threshold": views.get("threshold"),
        "stop_epoch": training.kept_epoch,
        "stop_rule_fired": training.history.stop_epoch is not None,
        "epochs_trained": training.history.epochs,
        **quality,
    }
    write_json(run.folder.path("summary.json"), summary)
    return summary


def _clip_forward_passes(run: Run, views: dict[str, Any]) -> int:
    if not run.config.labels.startswith("clip"):
        return 0
    tiles = VIEWS * len(run.train) if run.config.method == "cdul" else 0
    return len(run.train) + tiles + int(views.get("count", 0))


def evaluate(run: Run, training: Training) -> dict[str, dict[str, float]]:
    """Figures in percent, only where targets exist; writes per_class.csv and evaluation.npz.

    `map` has the mAP of labels and classifier. Label quality is measured on the training images before floor and clamp;
    `validation` is the label-free stop, `validation_best_epoch` an oracle that looked at the targets.
    `evaluation` has the classifier's other figures on the validation images.
    """
    quality: dict[str, float] = {}
    figures: dict[str, float] = {}
    targets = run.train.targets
    if targets is not None and run.config.method == "ccd":
        for name, scores in zip(("initial_labels", "final_labels"), ccd.quality_scores(run), strict=True):
            known = np.isfinite(scores).all(axis=1)
            quality[name] = mean_average_precision(scores[known], targets[known])
    if run.validation is not None and run.validation.targets is not None:
        training.load_kept_weights()
        logits = training.validation_logits()
        assert logits is not None
        write_evaluation(run, logits)
        precisions = average_precisions(logits, run.validation.targets)
        _write_per_class(run, precisions)
        quality["validation"] = 100 * float(precisions.mean())
        quality["validation_best_epoch"] = max(training.history.column("validation_map"))
        figures = classification_figures(logits, run.validation.targets)
    return {"map": quality, "evaluation": figures}


def _write_per_class(run: Run, precisions: np.ndarray[Any, Any]) -> None:
    assert run.validation is not None
    assert run.validation.targets is not None
    positives = (run.validation.targets == 1).sum(axis=0)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["class", "average_precision", "positives"])
    for name, precision, count in zip(run.class_names, precisions, positives, strict=True):
        writer.writerow([name, f"{100 * precision:.2f}", count])
    write_atomically(run.folder.path("per_class.csv"), text.getvalue().encode())


def print_summary(run: Run, summary: dict[str, Any], console: Console) -> None:
    """The table at the end of a run: what was done, how good it is, where it lies."""
    table = Table(title=Text(f"{summary['method']} on {run.data}"), show_header=False, title_justify="left")
    table.add_row("images", f"{summary['images']} used, {summary['images_failed']} failed")
    table.add_row("CLIP forward passes", f"{summary['clip_forward_passes']}")
    if summary["mean_views_per_image"]:
        table.add_row("crops per image", f"{summary['mean_views_per_image']:.1f}")
    names = {
        "initial_labels": "mAP of CLIP's labels",
        "final_labels": "mAP of the updated labels",
        "validation": "mAP of the classifier",
        "validation_best_epoch": "best epoch (looks at targets)",
    }
    for key, value in summary["map"].items():
        table.add_row(names[key], f"{value:.1f} %")
    if figures := summary["evaluation"]:
        table.add_row("CF1, OF1 at 0.5", f"{figures['cf1']:.1f} %, {figures['of1']:.1f} %")
    table.add_row("weights of epoch", f"{summary['stop_epoch'] + 1} of {summary['epochs_trained']}")
    table.add_row("seconds", f"{sum(summary['seconds'].values()):.0f}")
    table.add_row("folder", Text(str(run.folder.root)))
    console.print(table)


def print_labels(run: Run, labels: LabelTable, num_failed: int, console: Console) -> None:
    """The table at the end of `ccd label`, and the commands that go on from there."""
    given_NC = labels.given()[labels.known]
    counts_C = given_NC.sum(axis=0)
    table = Table(title=f"labels of {run.data}", show_header=False, title_justify="left")
    table.add_row("images", f"{len(given_NC)} labelled, {num_failed} failed")
    table.add_row("labels per image", f"{given_NC.sum() / max(len(given_NC), 1):.2f}")
    for title, c in (("most frequent class", counts_C.argmax()), ("rarest class", counts_C.argmin())):
        table.add_row(title, f"{run.class_names[c]} ({counts_C[c]} images)")
    table.add_row("folder", str(run.folder.root / "labels"))
    console.print(table)
    folder = shlex.quote(str(run.folder.root))
    for command, why in (("review", "correct them"), ("export", "take them away"), ("train", "get a classifier")):
        console.print(f"next: ccd {command} {folder}  # {why}", markup=False, highlight=False, soft_wrap=True)
