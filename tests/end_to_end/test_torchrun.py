"""A run in two processes under torchrun is the run of one, also when one of them is killed."""

import csv
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

SmallRunOnVoc = Callable[[str, Path], tuple[object, ...]]
StartUnderTorchrun = Callable[..., "subprocess.Popen[str]"]

# Weights that were trained before, so that rounding does not decide what the classifier becomes.
BUNDLED = ("--backbone", "demo", "--backbone-weights", "imagenet")

# When a process is killed: while images are labelled, after the main process's warm-up, in the shared epochs.
MARKS = ("labels/initial_raw.npy", "checkpoints/epoch-001.safetensors", "checkpoints/epoch-002.safetensors")


@pytest.fixture(scope="module")
def arguments(labeler, small_run_on_voc: SmallRunOnVoc) -> Callable[[Path], tuple[object, ...]]:
    def with_bundled_backbone(output: Path) -> tuple[object, ...]:
        given = small_run_on_voc(labeler.address, output)
        return (*(argument for argument in given if not str(argument).startswith("--backbone")), *BUNDLED)

    return with_bundled_backbone


@pytest.fixture(scope="module")
def torchrun(start_trainer: Callable[..., "subprocess.Popen[str]"]) -> StartUnderTorchrun:
    """torchrun(*arguments, restarts=0): the trainer in two processes, their output in a pipe."""

    def start(*arguments: object, restarts: int = 0) -> "subprocess.Popen[str]":
        launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}")
        return start_trainer(*arguments, program=("-m", *launcher, "-m", "trainer"))

    return start


@pytest.fixture(scope="module")
def of_one(
    run_trainer: Callable[..., tuple[int, str]],
    arguments: Callable[[Path], tuple[object, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    output = tmp_path_factory.mktemp("one") / "run"
    code, text = run_trainer(*arguments(output))
    assert code == 0, text
    return output


@pytest.fixture(scope="module")
def of_two(
    torchrun: StartUnderTorchrun,
    arguments: Callable[[Path], tuple[object, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    output = tmp_path_factory.mktemp("two") / "run"
    process = torchrun(*arguments(output))
    text, _ = process.communicate(timeout=280)
    assert process.returncode == 0, text
    assert text.count("weights of epoch") == 1, "only the main process prints"
    return output


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["initial_raw", "initial", "local", "final", "views"])
def test_labels_are_those_of_one_process_bit_for_bit(of_one: Path, of_two: Path, name: str) -> None:
    """Would fail if a row came under another image, or if the warm-up that chooses the crops were rounded otherwise."""
    one, two = ((folder / "labels" / f"{name}.npy").read_bytes() for folder in (of_one, of_two))
    assert one == two


@pytest.mark.slow
def test_the_classifier_is_as_good(of_one: Path, of_two: Path) -> None:
    one, two = (json.loads((folder / "summary.json").read_text()) for folder in (of_one, of_two))
    assert two["map"]["validation"] == pytest.approx(one["map"]["validation"], abs=0.1)
    for key in ("images", "images_validation", "clip_forward_passes", "mean_views_per_image", "epochs_trained"):
        assert two[key] == one[key]


@pytest.mark.slow
def test_evaluation_counted_each_image_once(
    of_two: Path, voc_folder: Path, classes_file: Path, run_trainer: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """Against one process that evaluates the finished classifier: a padded image would move an average precision."""
    report = tmp_path / "report.json"
    data = (f"voc:{voc_folder}", "--classes", classes_file, "--batch-size", "32", "--output", report)
    code, text = run_trainer("evaluate", of_two, *data)
    assert code == 0, text
    figures = json.loads(report.read_text())
    assert figures["images"] == 24
    assert figures["map"] == pytest.approx(json.loads((of_two / "summary.json").read_text())["map"]["validation"])
    for row, expected in zip(rows_of(of_two / "per_class.csv"), figures["per_class"], strict=True):
        assert int(row["positives"]) == expected["positives"]
        assert float(row["average_precision"]) == pytest.approx(expected["average_precision"], abs=0.006)


def process_of(agent: "subprocess.Popen[str]", rank: int) -> psutil.Process:
    """The trainer's process of this rank below torchrun's."""
    (found,) = (p for p in psutil.Process(agent.pid).children() if p.environ().get("RANK") == str(rank))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("mark", MARKS)
def test_a_killed_process_is_started_again_and_the_run_ends_with_the_same_bits(
    torchrun: StartUnderTorchrun,
    arguments: Callable[[Path], tuple[object, ...]],
    fingerprint: Callable[[Path], dict[str, str]],
    of_two: Path,
    tmp_path: Path,
    rank: int,
    mark: str,
) -> None:
    """Would fail if the lock outlived its holder, a process waited for a dead one, or the start were not the last
    checkpoint."""
    output = tmp_path / "run"
    agent = torchrun(*arguments(output), restarts=1)
    deadline = time.monotonic() + 120
    while not (output / mark).exists():
        assert agent.poll() is None, agent.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process_of(agent, rank).send_signal(signal.SIGKILL)
    text, _ = agent.communicate(timeout=280)
    assert agent.returncode == 0, text
    assert fingerprint(output) == fingerprint(of_two)
    log = (output / "run.log").read_text()
    if mark.startswith("checkpoints"):
        assert log.count("warmup begins") == 1 or rank == 0, "it began again from the start"


@pytest.mark.slow
def test_an_error_is_said_once_and_all_end(torchrun: StartUnderTorchrun, tmp_path: Path) -> None:
    """Would fail if the other process waited for the one that gave up, or said the same."""
    process = torchrun("run", tmp_path / "nothing", "--classes", "cat, dog", "--output", tmp_path / "run")
    text, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert len([line for line in text.splitlines() if line.startswith("ccd:")]) == 1, text


@pytest.mark.slow
def test_other_commands_say_that_they_are_one_process(torchrun: StartUnderTorchrun, tmp_path: Path) -> None:
    process = torchrun("compare", "demo", "--output", tmp_path / "study")
    text, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert text.count("ccd compare is one process") == 1, text
