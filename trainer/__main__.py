"""The command line `ccd`, also `python -m trainer`. Heavy imports stay inside the commands, so that --help is instant.

Exit codes: 0 done; 2 wrong use; 3 unusable data; 4 labeler unreachable; 5 done, but some images could not be used.
"""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.config import Env, Yaml

from trainer import __version__
from trainer.config import DEFAULTS, EVALUATION_DEFAULTS, EvaluationConfig, RunConfig, default_output

WRONG_USE, BAD_DATA, UNREACHABLE, PARTIAL = 2, 3, 4, 5

app = App(
    name="ccd",
    version=__version__,
    help="Train a multi-label image classifier from unlabelled images and a list of class names.",
    config=Env("CCD_", command=False),
)

Flags = Annotated[RunConfig, Parameter(name="*")]


@app.command
def run(data: str, *, output: Path | None = None, config: Flags = DEFAULTS) -> int:
    """Label the images, train the classifier, evaluate it. The same command goes on where it was interrupted.

    Parameters
    ----------
    data
        A folder of images, `demo` (drawn scenes), or FORMAT:PATH: voc07:DIR, voc12:DIR, voc:DIR, coco14:DIR,
        nuswide:DIR, npy:DIR, csv:FILE, parquet:FILE, imagefolder:DIR, webdataset:PATTERN.
    output
        Folder of the run; runs/NAME by default.
    """
    from rich.console import Console

    from trainer.pipeline import run_pipeline

    outcome = run_pipeline(data, output or default_output(data), config, Console())
    return PARTIAL if outcome.failed else 0


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
    from rich.console import Console

    from trainer.pipeline import label_pipeline

    return PARTIAL if label_pipeline(data, output or default_output(data), config, Console()) else 0


@app.command
def train(run: Path, *, output: Path | None = None, config: Flags = DEFAULTS) -> int:
    """Train a classifier on a run's labels and corrections: go on in its folder, or begin again in another.

    Parameters
    ----------
    run
        Folder of a run that has labels.
    output
        Folder of a new run that takes over the labels, where settings of the training or corrections changed; the old
        run stays as it is.
    """
    from rich.console import Console

    from trainer.retraining import train_run

    return PARTIAL if train_run(run, output, config, Console()).failed else 0


@app.command
def review(run: Path, *, top: int = 200, apply: Path | None = None) -> int:
    """Write the images whose labels most need a person's eye, or take in that person's corrections.

    Parameters
    ----------
    run
        Folder of a run that has labels.
    top
        How many images.
    apply
        The edited review/queue.csv, or a Label Studio export (JSON), whose corrections the next training uses.
    """
    from rich.console import Console

    from trainer.review import apply_corrections, write_queue

    if apply is None:
        write_queue(run, top, Console())
    else:
        apply_corrections(run, apply, Console())
    return 0


@app.command
def export(
    run: Path,
    *,
    formats: Annotated[str, Parameter(name="--format")] = "all",
    thresholds: Literal["fixed", "prior", "otsu", "reviewed"] = "fixed",
) -> int:
    """Write a run's labels in the formats of other programs, into labels/exports/NAME/.

    Parameters
    ----------
    run
        Folder of a run that has labels.
    formats
        Names with commas between: csv, coco, fiftyone, label-studio, hf (Hugging Face), npy (single-positive arrays).
    thresholds
        From which label on a class counts as present. fixed: 1/2. prior: as many images as CLIP expects. otsu: where
        the class's labels fall into two groups. reviewed: best F1 on at least 50 reviewed images.
    """
    from rich.console import Console

    from trainer.exports.export import export_run

    export_run(run, formats, thresholds, Console())
    return 0


@app.command
def demo(*, output: Path = Path("runs/demo"), config: Flags = DEFAULTS) -> int:
    """Run the whole method on drawn scenes, and show what each fault of CLIP costs and what the method makes of it."""
    from rich.console import Console

    from trainer.demo import run_demo

    run_demo(output, config, Console())
    return 0


@app.command
def compare(
    data: str,
    *,
    study: Literal["table1", "table2", "table3", "fig2", "fig3", "fig6a", "fig6b"] = "table2",
    seeds: int = 3,
    jobs: int = 1,
    output: Path | None = None,
    config: Flags = DEFAULTS,
) -> int:
    """Run every row of a study of the paper over several seeds and print a table. Finished runs are not run again.

    Parameters
    ----------
    data
        As for `run`.
    study
        table1: all methods. table2: the method's modules, and full supervision. table3: AP of the classes with the
        lowest bias. fig2: class bias. fig3: where local views are. fig6a: how many. fig6b: the initial label's weight.
    seeds
        Runs per row, with seeds 0, 1, ...
    jobs
        Runs at a time, each in a process of its own; on several GPUs they take turns.
    output
        Folder of the comparison; runs/NAME-STUDY by default.
    """
    from rich.console import Console

    from trainer.compare import run_study

    folder = output or default_output(data).with_name(f"{default_output(data).name}-{study}")
    run_study(data, study, seeds, folder, config, Console(), jobs=jobs)
    return 0


@app.command
def evaluate(
    model: Path, data: str, *, config: Annotated[EvaluationConfig, Parameter(name="*")] = EVALUATION_DEFAULTS
) -> int:
    """Measure a trained classifier on images with targets: mAP, CF1, OF1, calibration error and the AP of each class.

    Parameters
    ----------
    model
        A run's folder, an exported model/, a checkpoint (RUN/checkpoints/epoch-NNN.safetensors) or an .onnx file.
    data
        As for `run`.
    """
    from rich.console import Console

    from trainer.evaluation import evaluate_model

    report = evaluate_model(model, data, config, Console())
    return PARTIAL if report["images_failed"] else 0


@app.meta.default
def _with_file(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], config: Path | None = None
) -> int:
    """
    Parameters
    ----------
    config
        YAML file of settings; flags and CCD_* variables go first.
    """
    files = [] if config is None else [Yaml(config, must_exist=True, use_commands_as_keys=False)]
    app.config = (Env("CCD_", command=False), *files)
    code = app(tokens, result_action="return_value")
    return code if isinstance(code, int) else 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and turns what a user can mend into one line and an exit code.

    `arguments` default to the process's own.
    """
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)  # what is below goes to the run's own log
    logging.basicConfig(handlers=[handler], format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_guarded(lambda: app.meta(arguments, result_action="return_value")))


def _guarded(command: Callable[[], object]) -> int:
    from clip_labeler import LabelerError

    try:
        code = command()
    except LabelerError as error:
        return _fail(UNREACHABLE, error)
    except (ValueError, FloatingPointError) as error:
        from trainer.session import DataError

        return _fail(BAD_DATA if isinstance(error, DataError) else WRONG_USE, error)
    except KeyboardInterrupt:
        return _fail(130, "interrupted; the same command goes on from here")
    return code if isinstance(code, int) else 0


def _fail(code: int, reason: object) -> int:
    print(f"ccd: {reason}", file=sys.stderr)
    return code


def _terminate(signum: int, frame: object) -> None:
    """SIGTERM unwinds the stack, so that the run's own labeler is stopped."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
