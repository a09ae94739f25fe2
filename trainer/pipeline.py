"""A whole run: labels, warm-up, better labels, training, evaluation; or labels alone. Finished stages are skipped."""

import csv
import io
import json
import logging
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer import __version__, distributed, team
from trainer.classifier_outputs import write_classifier_outputs
from trainer.config import RunConfig
from trainer.corrected_labels import begin_with, training_labels, warmup_labels
from trainer.data.counts import describe_counts
from trainer.events import emit, warn
from trainer.export import export_model
from trainer.files import write_atomically, write_json
from trainer.first_lines import show_failures
from trainer.labeling import Labeler
from trainer.methods import METHODS
from trainer.probe import estimate, is_worth_a_probe, show_estimate
from trainer.published_labels import publish
from trainer.run_thresholds import offer_thresholds
from trainer.session import Run, open_run
from trainer.summary import evaluate, print_labels, print_summary, summarise
from trainer.trackers import Report, tracked
from trainer.training import Training

log = logging.getLogger(__name__)

BUNDLED_WARNING = (
    "the bundled demo CLIP has only ever seen drawings. For photographs add, for instance, "
    "--clip ViT-L-14-336-quickgelu --clip-weights openai --view-size 336 "
    "--backbone resnet50.tv_in1k --image-size 448 --learning-rate 1e-5"
)


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `failed` lists (image id, reason) of the images that could not be used."""

    summary: dict[str, Any]
    failed: tuple[tuple[str, str], ...]


def run_pipeline(
    data: str, output: Path, config: RunConfig, console: Console, *, probe: bool | None = False
) -> Outcome:
    """Runs, or goes on with, the run in `output`. probe: whether it begins with an estimate of its time; None: where
    that pays.

    Raises session.DataError for unusable data, ValueError for unusable settings, clip_labeler.LabelerError when the
    labeler cannot be reached or breaks the contract.
    """
    run = open_run(data, output, config, console)
    try:
        with Labeler(run.config, run.class_names) as labeler, tracked(run) as report:
            outcome = _stages(run, labeler, report, probe)
        team.dismiss()
        return outcome
    finally:
        run.folder.close()


def _stages(run: Run, labeler: Labeler, report: Report, probe: bool | None) -> Outcome:
    _begin(run)
    config, method = run.config, METHODS[run.config.method]
    training = distributed.main_first(lambda: Training(run, report))
    if probe or (probe is None and is_worth_a_probe(run)):
        show_estimate(estimate(run, training, labeler), run.console)
    _warm_up(run, labeler, training)
    training.train_until(
        config.epochs,
        lambda: training_labels(run, method.updated_labels(run, labeler, training.model)),
        stage="training",
    )
    with run.folder.stage("evaluation"):
        quality = evaluate(run, training)
        if config.method == "ccd":
            publish(run.folder.root, split=run.train.name)
        export_model(run, training, quality)
    write_classifier_outputs(run, training)
    if config.method == "ccd":
        offer_thresholds(run.folder.root)
    summary = summarise(run, training, quality)
    failed = _write_failed(run)
    show_failures(failed[len(run.failed) :], run.console)  # the labeler's; the others were shown at the start
    print_summary(run, summary, run.console)
    emit("summary", output=str(run.folder.root.resolve()), **summary)
    return Outcome(summary, failed)


def label_pipeline(data: str, output: Path, config: RunConfig, console: Console) -> tuple[tuple[str, str], ...]:
    """The stages of a run up to its final labels, and their tables; `run_pipeline` with the same settings goes on.

    Returns (image id, reason) of the images that could not be used. Raises ValueError for a method that makes no
    labels, and what `run_pipeline` raises.
    """
    if config.method != "ccd":
        raise ValueError(f"ccd label writes the labels of --method ccd; {config.method} has none of its own")
    run = open_run(data, output, config, console)
    try:
        with Labeler(run.config, run.class_names) as labeler:
            _begin(run)
            if run.config.update:
                training = Training(run)
                _warm_up(run, labeler, training)
                METHODS["ccd"].updated_labels(run, labeler, training.model)
            else:
                METHODS["ccd"].initial_labels(run, labeler)
        failed = _write_failed(run)
        print_labels(run, publish(run.folder.root, split=run.train.name), len(failed), console)
        return failed
    finally:
        run.folder.close()


def _begin(run: Run) -> None:
    _introduce(run)
    if run.config.corrections is not None:
        begin_with(run, Path(run.config.corrections))


def _warm_up(run: Run, labeler: Labeler, training: Training) -> None:
    method = METHODS[run.config.method]
    training.train_until(
        run.config.warmup_epochs, lambda: warmup_labels(run, method.initial_labels(run, labeler)), stage="warmup"
    )


def _introduce(run: Run) -> None:
    """What the look at all images showed, and the files that tell later how the run came about."""
    config = run.config
    _print_counts(run)
    show_failures(run.failed, run.console)
    _write_failed(run)
    if run.data != "demo" and config.labeler is None and config.clip == "demo" and config.method == "ccd":
        warn(run.console, f"note: {BUNDLED_WARNING}")
    packages = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow", "grpcio", "protobuf")
    environment = {name: version(name) for name in packages} | {
        "ccd": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(run.machine.device),
        "processes": str(distributed.world_size()),
    }
    write_json(run.folder.path("environment.json"), environment)


def _print_counts(run: Run) -> None:
    """Images and labels of each split; a warning where a benchmark's are not as published: results do not compare."""
    train, validation = run.published or (None, None)
    for images, published in ((run.train, train), (run.validation, validation)):
        if images is not None:
            line, differs = describe_counts(images, published)
            if differs:
                warn(run.console, f"warning: {line}")
            else:
                run.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _write_failed(run: Run) -> tuple[tuple[str, str], ...]:
    """failed.csv: every image that could not be used, and why; each once."""
    rejected = run.folder.state.get("initial_labels", {}).get("rejected", [])
    failed = (*run.failed, *((image_id, reason) for image_id, reason in rejected))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["image_id", "reason"])
    writer.writerows(failed)
    write_atomically(run.folder.path("failed.csv"), text.getvalue().encode())
    return failed


def read_summary(output: Path) -> dict[str, Any]:
    """summary.json of a finished run."""
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return summary
