"""The command line `ccd`, also `python -m trainer`. Heavy imports stay inside the commands, so that --help is instant.

Exit codes: 0 done; 1 `doctor` found what would end a run; 2 wrong use; 3 unusable data; 4 labeler unreachable; 5 done,
but some images could not be used or the report could not be written. Under torchrun 0 also then, and 1 where another
process has ended.
"""

import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.config import Env, Yaml

from trainer import __version__
from trainer.config import DEFAULTS, EVALUATION_DEFAULTS, EvaluationConfig, RunConfig, default_output
from trainer.prediction_config import PREDICTION_DEFAULTS, PredictionConfig

if TYPE_CHECKING:
    from rich.console import Console

PEER_LOST, WRONG_USE, BAD_DATA, UNREACHABLE, PARTIAL = 1, 2, 3, 4, 5

app = App(
    name="ccd",
    version=__version__,
    help="Train a multi-label image classifier from unlabelled images and a list of class names.",
    config=Env("CCD_", command=False),
)

Flags = Annotated[RunConfig, Parameter(name="*")]


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
        _refuse_torchrun("run --dry-run")
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
    reported = not report or _write_report(folder, console)
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
    _refuse_torchrun("label")
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
    _refuse_torchrun("train")
    from rich.console import Console

    from trainer.retraining import train_run

    console = Console()
    outcome = train_run(run, output, config, console)
    reported = not report or _write_report(output or run, console)
    return 0 if reported and not outcome.failed else PARTIAL


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
def demo(*, output: Path = Path("runs/demo"), report: bool = True, config: Flags = DEFAULTS) -> int:
    """Run the whole method on drawn scenes, and show what each fault of CLIP costs and what the method makes of it.

    Parameters
    ----------
    report
        Write report.html at the end.
    """
    _refuse_torchrun("demo")
    from rich.console import Console

    from trainer.demo import run_demo

    console = Console()
    run_demo(output, config, console)
    return 0 if not report or _write_report(output, console) else PARTIAL


@app.command
def compare(
    *data: str,
    study: Literal["table1", "table2", "table3", "fig2", "fig3", "fig6a", "fig6b"] | None = None,
    seeds: int = 3,
    jobs: int = 1,
    output: Path | None = None,
    config: Flags = DEFAULTS,
) -> int:
    """Put finished runs side by side, or run every row of a study of the paper over several seeds; print a table.

    Parameters
    ----------
    data
        Two or more folders of runs; or one DATA, as for `run`, for a study.
    study
        table1: all methods. table2, the default: the method's modules, and full supervision. table3: AP of the classes
        with the lowest bias. fig2: class bias. fig3: where local views are. fig6a: how many. fig6b: the initial
        label's weight. Finished runs are not run again.
    seeds
        Of a study: runs per row, with seeds 0, 1, ...
    jobs
        Of a study: runs at a time, each in a process of its own; on several GPUs they take turns.
    output
        Folder of a study, runs/NAME-STUDY by default; of a comparison, where table.md and table.csv are wanted.
    """
    _refuse_torchrun("compare")
    from rich.console import Console

    if study is None and (len(data) > 1 or any((Path(name) / "config.resolved.yaml").is_file() for name in data)):
        from trainer.side_by_side import compare_runs

        compare_runs([Path(name) for name in data], output, Console())
        return 0
    if len(data) != 1:
        raise ValueError(f"a study takes one DATA, not {len(data)}; runs are compared without --study")

    from trainer.compare import run_study

    study = study or "table2"
    folder = output or default_output(data[0]).with_name(f"{default_output(data[0]).name}-{study}")
    run_study(data[0], study, seeds, folder, config, Console(), jobs=jobs)
    return 0


@app.command
def report(run: Path, *, output: Path | None = None, images: bool = True) -> int:
    """Write the report of a run as one HTML file that needs no network. It may be asked for while the run goes on.

    Parameters
    ----------
    run
        The run's folder.
    output
        The file; report.html in the run's folder by default.
    images
        --no-images leaves all pictures out, so that the file can be given away.
    """
    from trainer.report.page import write_report

    print(f"report: {write_report(run, output, images=images).absolute()}")
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
    _refuse_torchrun("evaluate")
    from rich.console import Console

    from trainer.evaluation import evaluate_model

    report = evaluate_model(model, data, config, Console())
    return PARTIAL if report["images_failed"] else 0


@app.command
def predict(
    model: Path, *images: Path, config: Annotated[PredictionConfig, Parameter(name="*")] = PREDICTION_DEFAULTS
) -> int:
    """Write the probability of each class for any images, and where in them it was seen.

    Parameters
    ----------
    model
        As for `evaluate`.
    images
        Folders and files.
    """
    from rich.console import Console

    from trainer.predictor import predict_files

    return PARTIAL if predict_files(model, images, config, Console()) else 0


@app.command
def export_onnx(model: Path, *, fp16: bool = False, images: Path | None = None) -> int:
    """Write model.onnx into a run's model/: input `image`, outputs `probs` and `cam`, any batch size. About 10 s.

    Parameters
    ----------
    model
        A run's folder, or an exported model/.
    fp16
        Write model.fp16.onnx too: half the size, its probabilities within 0.02 of torch's.
    images
        Folder with images to compare ONNX Runtime and torch on; the run's own by default.
    """
    from rich.console import Console

    from trainer.onnx_export import export_onnx

    export_onnx(model, Console(), fp16=fp16, images=images)
    return 0


@app.command
def publish(model: Path, repository: str, *, private: bool = False) -> int:
    """Upload a run's model/ to the Hugging Face hub, where timm and transformers open it by name.

    Parameters
    ----------
    model
        A run's folder, or an exported model/.
    repository
        ORG/NAME; it is made where there is none. The token is the one of `hf auth login`, or HF_TOKEN.
    private
        A new repository is for its owners alone. By default it is as others of ORG are.
    """
    from trainer.hub import publish

    print(publish(model, repository, private=private))
    return 0


@app.command
def doctor(
    *,
    labeler: str | None = None,
    labeler_ca: Path | None = None,
    labeler_cert: Path | None = None,
    labeler_key: Path | None = None,
    labeler_token_file: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Look at versions, processors, graphics cards, folders and the labeler, and say what to do. Exit code 1 where a
    run would end, 4 where the labeler alone is why.

    Parameters
    ----------
    labeler
        HOST:PORT of a running labeler, to look at it too.
    labeler_ca, labeler_cert, labeler_key, labeler_token_file
        As for `run`.
    json
        A list of findings for programs.
    """
    from rich.console import Console

    from clip_labeler import Credentials
    from trainer.doctor import examination

    credentials = Credentials(labeler_ca, labeler_cert, labeler_key, token_file=labeler_token_file)
    findings = list(examination.show(examination.examine(labeler, credentials), Console(quiet=json)))
    if json:
        print(examination.as_json(findings))
    return examination.exit_code(findings)


def _write_report(folder: Path, console: "Console") -> bool:
    """The end of a run, which is finished whatever happens here: a failure is told, and why, and False returned."""
    from trainer.events import emit
    from trainer.report.page import write_report

    try:
        path = write_report(folder).absolute()
        console.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)
        emit("report", path=str(path))
    except Exception as error:  # whatever it is, the run is whole
        if not isinstance(error, OSError | ValueError):
            traceback.print_exc()
        _fail(PARTIAL, f"the run is finished, but its report could not be written: {error}; see `ccd report {folder}`")
        return False
    return True


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
    if isinstance(sys.stdout, TextIOWrapper):  # what a terminal cannot show, such as a folder's name, ends no run
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    app.print_error = app.meta.print_error = _rank() == 0
    sys.exit(_guarded(lambda: app.meta(arguments, result_action="return_value")))


def _guarded(command: Callable[[], object]) -> int:
    from clip_labeler import LabelerError

    try:
        code = command()
    except LabelerError as error:
        return _fail(UNREACHABLE, error)
    except (ValueError, FloatingPointError) as error:
        from trainer.session import DataError

        code = BAD_DATA if isinstance(error, DataError) else WRONG_USE
        return _fail(code, error, known_to_all=isinstance(error, FloatingPointError))
    except RuntimeError as error:
        from trainer.distributed import PeerLostError

        if not isinstance(error, PeerLostError):
            raise
        return _fail(PEER_LOST, error, known_to_all=True)
    except KeyboardInterrupt:
        return _fail(130, "interrupted; the same command goes on from here", known_to_all=True)
    return code if isinstance(code, int) else 0


def _fail(code: int, reason: object, *, known_to_all: bool = False) -> int:
    """Under torchrun one process says what all know; what went wrong in one alone, it says itself."""
    if _rank() == 0 or not known_to_all:
        print(f"ccd: {f'process {_rank()}: ' if _rank() else ''}{reason}", file=sys.stderr)
    return code


def _rank() -> int:
    """torchrun's number of this process; 0 is the main one, and one that is alone."""
    return int(os.environ.get("RANK", "0"))


def _refuse_torchrun(command: str) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if _rank():
            sys.exit(WRONG_USE)
        raise ValueError(f"ccd {command} is one process; torchrun is for ccd run")


def _terminate(signum: int, frame: object) -> None:
    """SIGTERM unwinds the stack, so that the run's own labeler is stopped."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
