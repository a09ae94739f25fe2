"""The command line `ccd`, also `python -m trainer`. Heavy imports stay inside the commands, so that --help is instant.

Exit codes: 0 done; 1 `doctor` found what would end a run; 2 wrong use; 3 unusable data; 4 labeler unreachable; 5 done,
but some images could not be used.
"""

import logging
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.config import Env, Yaml

from trainer import __version__
from trainer.config import DEFAULTS, EVALUATION_DEFAULTS, EvaluationConfig, RunConfig, default_output

if TYPE_CHECKING:
    from rich.console import Console

WRONG_USE, BAD_DATA, UNREACHABLE, PARTIAL = 2, 3, 4, 5

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
        nuswide:DIR, csv:FILE, parquet:FILE, imagefolder:DIR, webdataset:PATTERN.
    output
        Folder of the run; runs/NAME by default.
    dry_run
        Label 32 images, show them and end. Writes nothing.
    probe
        Begin with an estimate of the time of each stage. By default a new run of 200 images or more does.
    json
        Tell programs what happens: events as lines of JSON on standard output, and nothing else there.
    """
    from rich.console import Console

    from trainer.events import json_lines

    folder = output or default_output(data)
    if json:
        with json_lines():
            return _run(data, folder, dry_run, probe, config, Console(quiet=True))
    return _run(data, folder, dry_run, probe, config, Console())


def _run(data: str, output: Path, dry: bool, probe: bool | None, config: RunConfig, console: "Console") -> int:
    from trainer.dry_run import dry_run
    from trainer.events import emit
    from trainer.pipeline import run_pipeline

    failed: object
    if dry:
        failed = dry_run(data, config, console)
        console.print("next: the same command without --dry-run", highlight=False)
    else:
        failed = run_pipeline(data, output, config, console, probe=probe).failed
        command = f"ccd report {shlex.quote(str(output))}"
        console.print(f"next: {command}", markup=False, highlight=False, soft_wrap=True)
        emit("next", command=command)
    return PARTIAL if failed else 0


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
