"""A run that is killed anywhere goes on with the same command and ends with the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

SmallRunOnVoc = Callable[[str, Path], tuple[object, ...]]

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


@pytest.fixture(scope="module")
def undisturbed(
    labeler,
    run_trainer: Callable[..., tuple[int, str]],
    small_run_on_voc: SmallRunOnVoc,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    code, text = run_trainer(*small_run_on_voc(labeler.address, output))
    assert code == 0, text
    return output


@pytest.mark.parametrize("marks", [STAGE_MARKS[1::2], pytest.param(STAGE_MARKS, marks=pytest.mark.slow)])
def test_killed_in_every_stage_the_run_ends_with_the_same_bits(
    marks: Sequence[str],
    undisturbed: Path,
    labeler,
    start_trainer: Callable[..., "subprocess.Popen[str]"],
    run_trainer: Callable[..., tuple[int, str]],
    small_run_on_voc: SmallRunOnVoc,
    fingerprint: Callable[[Path], dict[str, str]],
    kill_at: Callable[..., None],
    tmp_path: Path,
) -> None:
    """Would fail if any stage left a half-written file that passes for a whole one, or drew on lost random state."""
    output = tmp_path / "run"
    command = small_run_on_voc(labeler.address, output)
    for mark in marks:
        kill_at(start_trainer(*command), output / mark)
    code, text = run_trainer(*command)
    assert code == 0, text
    assert fingerprint(output) == fingerprint(undisturbed)
    summary, expected = (json.loads((folder / "summary.json").read_text()) for folder in (output, undisturbed))
    assert summary["map"] == expected["map"]


@pytest.mark.slow
def test_a_watched_run_with_an_estimate_ends_with_the_same_bits(
    undisturbed: Path,
    labeler,
    small_run_on_voc: SmallRunOnVoc,
    fingerprint: Callable[[Path], dict[str, str]],
    tmp_path: Path,
) -> None:
    """Would fail if the probe drew on the run's random state or trained its model, or if anything but events came on
    standard output."""
    output = tmp_path / "run"
    command = [sys.executable, "-m", "trainer", *small_run_on_voc(labeler.address, output), "--probe", "--json"]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=280, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert fingerprint(output) == fingerprint(undisturbed)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    by_name: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_name.setdefault(event["event"], []).append(event)
    assert set(by_name) == {"run", "progress", "estimate", "stage", "summary", "next"}
    [first], [estimate], [summary] = by_name["run"], by_name["estimate"], by_name["summary"]
    assert (first["images_found"], first["skipped"], first["output"]) == (64 + 24, 0, str(output))
    stages = ["labels of whole images", "warm-up", "choice of crops", "labels of crops", "training"]
    assert list(estimate["seconds"]) == stages
    assert all(seconds > 0 for seconds in estimate["seconds"].values())
    finished = [event["name"] for event in by_name["stage"] if event["state"] == "finished"]
    assert set(finished) == set(json.loads((undisturbed / "summary.json").read_text())["seconds"])
    labelling = [event for event in by_name["progress"] if event["description"] == "labelling images"]
    assert (labelling[-1]["done"], labelling[-1]["total"], labelling[-1]["failed"]) == (64, 64, 0)
    assert sum(labelling[-1]["waits_for"].values()) == pytest.approx(1, abs=0.01)
    assert summary["images"] == 64
    assert events[-1] == by_name["next"][0]


@pytest.fixture
def run_with_kills(
    tiny_clip,
    start_labeler,
    start_trainer: Callable[..., "subprocess.Popen[str]"],
    small_run_on_voc: SmallRunOnVoc,
    tmp_path: Path,
) -> Callable[..., tuple[int, Path]]:
    """run_with_kills(times, program=...): the trainer's exit code and folder, after its labeler was killed and started
    again so many times, each time in the middle of scoring."""

    def run(times: int, program: Sequence[str] = ("-m", "trainer")) -> tuple[int, Path]:
        output = tmp_path / "run"
        # One decoding process and few images at a time make scoring slow enough to be hit in the middle.
        flags = (*tiny_clip.flags, "--reproducible", "--decode-workers", "1", "--max-items-in-flight-per-stream", "4")
        labeler = start_labeler(*flags)
        process = start_trainer(*small_run_on_voc(labeler.address, output), program=program)
        answered = 0
        for _ in range(times):
            answered = wait_for_answers(process, output / "labels" / "initial_raw.npy", more_than=answered)
            labeler.process.kill()
            labeler.process.wait()
            assert answered < 64, "the labeler was not hit in the middle of scoring"
            labeler = start_labeler(*flags, port=int(labeler.address.rpartition(":")[2]))
        process.communicate(timeout=300)
        return process.returncode, output

    return run


def wait_for_answers(process: "subprocess.Popen[str]", path: Path, more_than: int) -> int:
    """Waits until more rows are answered, and returns how many."""
    while True:
        assert process.poll() is None, process.communicate()[0]
        if path.exists():
            count = int(np.isfinite(np.load(path)).all(axis=1).sum())
            if count > more_than:
                return count
        time.sleep(0.001)


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_labeler_killed_during_scoring_and_started_again(
    times: int,
    run_with_kills: Callable[..., tuple[int, Path]],
    fingerprint: Callable[[Path], dict[str, str]],
    undisturbed: Path,
) -> None:
    """Would fail if an answer were lost, stored twice or stored under another image when the labeler dies."""
    code, output = run_with_kills(times)
    assert code == 0
    assert fingerprint(output) == fingerprint(undisturbed)


@pytest.mark.slow
def test_the_check_fails_without_a_memory_of_what_was_asked(
    run_with_kills: Callable[..., tuple[int, Path]],
    fingerprint: Callable[[Path], dict[str, str]],
    undisturbed: Path,
) -> None:
    """What a client does that takes the end of its stream for the end of the answers."""
    code, output = run_with_kills(1, program=(str(Path(__file__).with_name("forgetful_trainer.py")),))
    assert code != 0 or fingerprint(output) != fingerprint(undisturbed)


def test_other_settings_are_refused_and_nothing_is_lost(
    undisturbed: Path,
    labeler,
    run_trainer: Callable[..., tuple[int, str]],
    small_run_on_voc: SmallRunOnVoc,
    fingerprint: Callable[[Path], dict[str, str]],
) -> None:
    """Would fail if a second run with another alpha were mixed into a finished one."""
    before = fingerprint(undisturbed)
    code, text = run_trainer(*small_run_on_voc(labeler.address, undisturbed), "--alpha", "0.7")
    assert code == 2
    assert "alpha: 0.2 -> 0.7" in text
    assert len([line for line in text.splitlines() if line.startswith("ccd:")]) == 1
    assert fingerprint(undisturbed) == before


def command_line(process: psutil.Process) -> str:
    """Empty where it has just ended, as the programs do that packages ask something of at import."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.parametrize("sent", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
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
    labelers: list[psutil.Process] = []
    while not labelers:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
        children = psutil.Process(process.pid).children()
        labelers = [child for child in children if "labeler_service" in command_line(child)]
    (child,) = labelers
    os.kill(process.pid, sent)
    process.communicate(timeout=60)
    child.wait(timeout=60)
