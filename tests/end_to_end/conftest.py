"""A small drawn data set in Pascal VOC's layout, and the trainer as a process."""

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from trainer.__main__ import main

# Small enough for seconds, large enough that every stage is there: warm-up, views, update, consistency.
SMALL_RUN = (
    "--backbone=resnet10t", "--backbone-weights=none", "--image-size=64", "--view-size=64",
    "--epochs=4", "--warmup-epochs=2", "--learning-rate=1e-3", "--batch-size=16",
)  # fmt: skip


@pytest.fixture(scope="session")
def voc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainer.data.scenes import write_demo_dataset

    folder = tmp_path_factory.mktemp("data") / "voc"
    write_demo_dataset(folder, num_train=64, num_val=24, seed=1)
    return folder


@pytest.fixture(scope="session")
def classes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainer.data.drawing.catalogue import CLASS_NAMES

    path = tmp_path_factory.mktemp("classes") / "classes.txt"
    path.write_text("\n".join(CLASS_NAMES) + "\n")
    return path


StartTrainer = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def start_trainer() -> StartTrainer:
    """start_trainer(*arguments): `python -m trainer` as a process of its own, its output in pipes.

    program: another one than `-m trainer` that takes the same command line.
    """

    def start(*arguments: str | Path, program: Sequence[str] = ("-m", "trainer")) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return start


@pytest.fixture(scope="session")
def run_trainer(start_trainer: StartTrainer) -> Callable[..., tuple[int, str]]:
    """run_trainer(*arguments): the same to its end; returns the exit code and what it printed."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        process = start_trainer(*arguments)
        output, _ = process.communicate(timeout=280)
        return process.returncode, output

    return run


@pytest.fixture(scope="session")
def run_here() -> Callable[..., tuple[int, str]]:
    """run_here(*arguments): the same within this process, which saves the seconds that torch takes to start."""
    import torch

    def run(*arguments: str | Path) -> tuple[int, str]:
        threads, text = torch.get_num_threads(), io.StringIO()
        torch.set_num_threads(1)  # as processes of the tests have
        try:
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text), pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        finally:
            torch.set_num_threads(threads)
        assert isinstance(ended.value.code, int)
        return ended.value.code, text.getvalue()

    return run


@pytest.fixture(scope="session")
def small_run() -> list[str]:
    return list(SMALL_RUN)


@pytest.fixture(scope="session")
def small_run_on_voc(
    voc_folder: Path, classes_file: Path, small_run: list[str]
) -> Callable[[str, Path], tuple[object, ...]]:
    """small_run_on_voc(address of the labeler, output): the arguments of a small run on the data set."""

    def arguments(address: str, output: Path) -> tuple[object, ...]:
        places = ("--classes", classes_file, "--labeler", address, "--output", output)
        return ("run", f"voc:{voc_folder}", *small_run, *places)

    return arguments


@pytest.fixture(scope="session")
def fingerprint() -> Callable[[Path], dict[str, str]]:
    """fingerprint(run folder): sha256 of every file that a resumed run must reproduce bit for bit."""

    def digests(folder: Path) -> dict[str, str]:
        files = [*sorted((folder / "labels").glob("*.npy")), folder / "model" / "model.safetensors"]
        return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    return digests


@pytest.fixture(scope="session")
def kill_at() -> Callable[..., None]:
    """kill_at(process, mark): sends SIGKILL as soon as the file exists."""

    def wait_and_kill(process: "subprocess.Popen[str]", mark: Path, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not mark.exists():
            assert process.poll() is None, f"ended before {mark.name}: {process.communicate()[0]}"
            assert time.monotonic() < deadline, f"{mark.name} never came"
            time.sleep(0.002)
        process.kill()
        process.communicate()

    return wait_and_kill


@pytest.fixture
def call_trainer(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], tuple[int, str]]:
    """call_trainer(arguments): the command line within this process; returns the exit code and what it printed."""

    def call(arguments: list[str]) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        captured = capsys.readouterr()
        assert isinstance(exit_info.value.code, int)
        return exit_info.value.code, captured.out + captured.err

    return call
