"""`ccd run`, `demo`, `label` and `train`: what makes labels and classifiers."""

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trainer.commands.application import PARTIAL, Flags, app, refuse_torchrun, write_report_of
from trainer.config import DEFAULTS, RunConfig, default_output

if TYPE_CHECKING:
    from rich.console import Console


@app.command
def run(
    data: str,
    *,
    output: Path | None = None,
    report: bool = True,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    probe: bool | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    config: Flags = DEFAULTS,
) -> int:
    """Label the images, train the classifier, evaluate it. The same command goes on where it was interrupted.

    Parameters
    ----------
    data
        A folder of images, `demo` (drawn scenes), or FORMAT:PATH: voc07:DIR, voc12:DIR, voc:DIR, coco14:DIR,
        nuswide:DIR, npy:DIR, csv:FILE, parquet:FILE, imagefolder:DIR, webdataset:PATTERN.
    output
        Folder of the run; runs/NAME by default.
    report
        Write report.html at the end.
    dry_run
        Label 32 images, show them and end. Writes nothing.
    probe
        Begin with an estimate of the time of each stage. By default a new run of 200 images or more does.
    json
        Tell programs what happens: events as lines of JSON on standard output, and nothing else there.
    """
    from rich.console import Console

    from trainer import distributed
    from trainer.events import json_lines
    from trainer.followers import follow_pipeline

    if dry_run:
        refuse_torchrun("run --dry-run")
    folder = output or default_output(data)
    with distributed.process_group():
        if not distributed.is_main():
            follow_pipeline(data, folder, config)
            return 0
        with json_lines() if json else nullcontext():
            console = Console(quiet=json)
            code = _dry_run(data, config, console) if dry_run else _run(data, folder, report, probe, config, console)
        # torchrun takes every other code for a failure, and would start a run that is done once more
        return code if distributed.world_size() == 1 else 0


def _dry_run(data: str, config: RunConfig, console: "Console") -> int:
    from trainer.dry_run import dry_run

    failed = dry_run(data, config, console)
    console.print("next: the same command without --dry-run", highlight=False)
    return PARTIAL if failed else 0


def _run(data: str, folder: Path, report: bool, probe: bool | None, config: RunConfig, console: "Console") -> int:
    from trainer.events import emit
    from trainer.pipeline import run_pipeline

    failed = run_pipeline(data, folder, config, console, probe=probe).failed
    reported = not report or write_report_of(folder, console)
    place = shlex.quote(str(folder))
    command = f"ccd review {place}" if config.method == "ccd" else f"ccd predict {place} IMAGES"
    console.print(f"next: {command}", markup=False, highlight=False, soft_wrap=True)
    emit("next", command=command)
    return 0 if reported and not failed else PARTIAL


@app.command
def label(data: str, *, output: Path | None = None, config: Flags = DEFAULTS) -> int:
    """Label the images and end there: labels/labels.parquet. `ccd train` makes a classifier of them.

    Parameters
    ----------
    data
        As for `run`.
    output
        Folder of the run; runs/NAME by default.
    """
    refuse_torchrun("label")
    from rich.console import Console

    from trainer.pipeline import label_pipeline

    return PARTIAL if label_pipeline(data, output or default_output(data), config, Console()) else 0


@app.command
def train(run: Path, *, output: Path | None = None, report: bool = True, config: Flags = DEFAULTS) -> int:
    """Train a classifier on a run's labels and corrections: go on in its folder, or begin again in another.

    Parameters
    ----------
    run
        Folder of a run that has labels.
    output
        Folder of a new run that takes over the labels, where settings of the training or corrections changed; the old
        run stays as it is.
    report
        Write report.html at the end.
    """
    refuse_torchrun("train")
    from rich.console import Console

    from trainer.retraining import train_run

    console = Console()
    outcome = train_run(run, output, config, console)
    reported = not report or write_report_of(output or run, console)
    return 0 if reported and not outcome.failed else PARTIAL


@app.command
def demo(*, output: Path = Path("runs/demo"), report: bool = True, config: Flags = DEFAULTS) -> int:
    """Run the whole method on drawn scenes, and show what each fault of CLIP costs and what the method makes of it.

    Parameters
    ----------
    report
        Write report.html at the end.
    """
    refuse_torchrun("demo")
    from rich.console import Console

    from trainer.demo import run_demo

    console = Console()
    run_demo(output, config, console)
    return 0 if not report or write_report_of(output, console) else PARTIAL
