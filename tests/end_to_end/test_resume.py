"""A run that is killed anywhere goes on with the same command and ends with the same bits."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

# A file that appears while a stage is at work, in the order in which a run makes them.
STAGE_MARKS = (
    "index.parquet",  # checking the images
    "labels/initial_raw.npy",  # asking for labels
    "checkpoints/epoch-000.safetensors",  # warm-up
    "labels/views.parquet",  # choosing crops
    "labels/views.npy",  # asking for the crops' labels
    "labels/final.npy",  # label update
    "checkpoints/epoch-002.safetensors",  # training
    "summary.json",  # evaluation
)


def kill_at(process: "subprocess.Popen[str]", mark: Path, seconds: float = 120) -> None:
    """Sends SIGKILL as soon as the file exists."""
    deadline = time.monotonic() + seconds
    while not mark.exists():
        assert process.poll() is None, f"ended before {mark.name}: {process.communicate()[0]}"
        assert time.monotonic() < deadline, f"{mark.name} never came"
        time.sleep(0.002)
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def undisturbed(
    voc_folder: Path,
    classes_file: Path,
    labeler,
    run_trainer: Callable[..., tuple[int, str]],
    small_run: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    code, text = run_trainer(
        "run",
        f"voc:{voc_folder}",
        "--classes",
        classes_file,
        *small_run,
        "--labeler",
        labeler.address,
        "--output",
        output,
    )
    assert code == 0, text
    return output


def test_killed_in_every_stage_the_run_ends_with_the_same_bits(
    undisturbed: Path,
    voc_folder: Path,
    classes_file: Path,
    labeler,
    start_trainer: Callable[..., "subprocess.Popen[str]"],
    run_trainer: Callable[..., tuple[int, str]],
    small_run: list[str],
    fingerprint: Callable[[Path], dict[str, str]],
    tmp_path: Path,
) -> None:
    """Would fail if any stage left a half-written file that passes for a whole one, or drew on lost random state."""
    output = tmp_path / "run"
    command = ("run", f"voc:{voc_folder}", "--classes", classes_file, *small_run)
    command += ("--labeler", labeler.address, "--output", output)
    for mark in STAGE_MARKS:
        kill_at(start_trainer(*command), output / mark)
    code, text = run_trainer(*command)
    assert code == 0, text
    assert fingerprint(output) == fingerprint(undisturbed)
    summary, expected = (json.loads((folder / "summary.json").read_text()) for folder in (output, undisturbed))
    assert summary["map"] == expected["map"]


def test_labeler_killed_during_scoring_and_started_again(
    voc_folder: Path,
    classes_file: Path,
    tiny_clip,
    start_labeler,
    labeler,
    start_trainer: Callable[..., "subprocess.Popen[str]"],
    run_trainer: Callable[..., tuple[int, str]],
    small_run: list[str],
    fingerprint: Callable[[Path], dict[str, str]],
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    """Would fail if an answer were lost, stored twice or stored under another image when the labeler dies."""
    output = tmp_path / "run"
    # one decoding thread and one image a batch make scoring slow enough to be hit in the middle
    flags = (*tiny_clip.flags, "--reproducible", "--decode-workers", "1")
    victim = start_labeler(*flags)
    process = start_trainer(
        "run",
        f"voc:{voc_folder}",
        "--classes",
        classes_file,
        *small_run,
        "--labeler",
        victim.address,
        "--output",
        output,
    )
    answered = wait_for_answers(process, output / "labels" / "initial_raw.npy")
    victim.process.kill()
    victim.process.wait()
    assert 0 < answered < 64, "the labeler was not hit in the middle of scoring"
    start_labeler(*flags, port=int(victim.address.rpartition(":")[2]))
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    assert fingerprint(output) == fingerprint(undisturbed)


def wait_for_answers(process: "subprocess.Popen[str]", path: Path) -> int:
    """Waits until some rows are answered, and returns how many."""
    while True:
        assert process.poll() is None, process.communicate()[0]
        if path.exists():
            count = int(np.isfinite(np.load(path)).all(axis=1).sum())
            if count:
                return count
        time.sleep(0.001)


def test_other_settings_are_refused_and_nothing_is_lost(
    undisturbed: Path,
    voc_folder: Path,
    classes_file: Path,
    labeler,
    run_trainer: Callable[..., tuple[int, str]],
    small_run: list[str],
    fingerprint: Callable[[Path], dict[str, str]],
) -> None:
    """Would fail if a second run with another alpha were mixed into a finished one."""
    before = fingerprint(undisturbed)
    code, text = run_trainer(
        "run", f"voc:{voc_folder}", "--classes", classes_file, *small_run, "--labeler", labeler.address,
        "--output", undisturbed, "--alpha", "0.7",
    )  # fmt: skip
    assert code == 2
    assert "alpha: 0.2 -> 0.7" in text
    assert len([line for line in text.splitlines() if line.startswith("ccd:")]) == 1
    assert fingerprint(undisturbed) == before


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_own_labeler_does_not_outlive_the_trainer(
    voc_folder: Path,
    start_trainer: Callable[..., "subprocess.Popen[str]"],
    small_run: list[str],
    tmp_path: Path,
    sent: signal.Signals,
) -> None:
    """Would fail if a killed trainer left a labeler behind that holds a GPU for ever."""
    output = tmp_path / "run"
    process = start_trainer(
        "run", f"voc:{voc_folder}", "--classes", "person, car, tree", *small_run, "--output", output
    )
    while not (output / "labels" / "initial_raw.npy").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    (child,) = psutil.Process(process.pid).children()
    assert "labeler_service" in " ".join(child.cmdline())
    os.kill(process.pid, sent)
    process.communicate(timeout=60)
    child.wait(timeout=60)
