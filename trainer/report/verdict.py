"""Section 1: what came out, in words, and what to be careful about."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from trainer.report.label_figures import same_first_choice
from trainer.report.run_files import RunFiles
from trainer.report.warnings import warnings

TITLE = "Verdict"

_STAGES = {
    "clip_labels": "CLIP's labels",
    "initial_labels": "debiasing",
    "warmup": "warm-up",
    "views": "crops",
    "label_update": "update of the labels",
    "training": "training",
    "evaluation": "evaluation",
}
_FIGURES = {
    "initial_labels": "mAP of CLIP's labels",
    "final_labels": "mAP of the updated labels",
    "validation": "mAP of the classifier",
    "validation_best_epoch": "mAP of the best epoch (looks at targets)",
}


@dataclass(frozen=True)
class Verdict:
    """sentences: the outcome. facts: name and value. warnings: whole sentences."""

    sentences: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def build(run: RunFiles) -> Verdict:
    return Verdict(tuple(_sentences(run)), tuple(_facts(run)), tuple(warnings(run)))


def _sentences(run: RunFiles) -> Iterator[str]:
    if run.summary is None:
        done = [name for stage, name in _STAGES.items() if stage in run.seconds]
        yield f"The run has not ended. Done so far: {', '.join(done) or 'nothing'}. This page shows what there is."
        return
    found = run.summary["map"]
    if "validation" in found:
        images = run.summary["images_validation"]
        yield f"The classifier reaches {found['validation']:.1f} % mAP on {images:,} images that it was not trained on."
    else:
        yield "There are no targets to measure the classifier with; the figures below are signs, not proof."
    if run.settings["labels"].startswith("clip"):
        yield "No annotation was used to train it."
    else:
        yield "It learned from targets."
    if "final_labels" in found and run.settings["update"]:
        gain = found["final_labels"] - found["initial_labels"]
        yield f"Debiasing and crops moved the labels' mAP by {gain:+.1f} points, to {found['final_labels']:.1f} %."


def _facts(run: RunFiles) -> Iterator[tuple[str, str]]:
    yield "Images", f"{len(run.images):,} used, {len(run.failures):,} left out"
    yield "Classes", f"{len(run.class_names)}"
    if "labeler" in run.state:
        yield "CLIP", run.state["labeler"]["model"]
    yield "Classifier", f"{run.settings['backbone']} at {run.settings['image_size']} px"
    for key, name in _FIGURES.items():
        if run.summary is not None and key in run.summary["map"]:
            yield name, f"{run.summary['map'][key]:.1f} %"
    yield from _proxies(run)
    if run.summary is not None:
        yield "Weights kept", f"epoch {run.summary['stop_epoch'] + 1} of {run.summary['epochs_trained']}"
        yield "Passes through CLIP", f"{run.summary['clip_forward_passes']:,}"
    yield "Time", str(timedelta(seconds=round(run.total_seconds)))


def _proxies(run: RunFiles) -> Iterator[tuple[str, str]]:
    """What can be said without targets."""
    if run.clip is not None and run.classifier is not None:
        share = same_first_choice(run.clip, run.classifier)
        yield "Classifier and CLIP name the same class first", f"in {100 * share:.0f} % of the images"
    given = run.given_labels
    if given is not None and len(given):
        yield "Images with at least one label", f"{100 * given.any(axis=1).mean():.0f} %"
        yield "Labels per image", f"{given.sum(axis=1).mean():.1f}"
    if run.views is not None and len(run.images):
        yield "Crops per image", f"{len(run.views) / len(run.images):.1f}"
        yield "Images with a crop", f"{100 * len(np.unique(run.views.image)) / len(run.images):.0f} %"
