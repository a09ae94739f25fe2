"""Labels alone, a person's corrections, and what the next training makes of them, with a real labeler."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.__main__ import main
from trainer.label_table import LabelTable

CLASSES = ("cat", "dog", "bicycle")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, image_bytes: Callable[..., bytes]) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(16):
        (folder / f"{seed:02d}.jpg").write_bytes(image_bytes(seed, 60, 50))
    (folder / "empty.jpg").touch()
    return folder


@pytest.fixture(scope="module")
def call(labeler) -> Iterator[Callable[..., int]]:
    """call(*arguments): the command line within this process, on one thread as the other trainers here; exit code."""

    def run(*arguments: object) -> int:
        words = [str(argument) for argument in arguments if argument != "--no-report"]
        with pytest.raises(SystemExit) as exit_info:
            main([*words, *(["--no-report"] if words[0] in ("run", "train") else [])])
        code = exit_info.value.code
        assert isinstance(code, int)
        return code

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield run
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def settings(photos: Path, labeler, small_run: list[str]) -> tuple[object, ...]:
    return (photos, "--classes", ", ".join(CLASSES), *small_run, "--labeler", labeler.address)


@pytest.fixture(scope="module")
def labelled(call: Callable[..., int], settings: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended after its labels."""
    output = tmp_path_factory.mktemp("labelled") / "run"
    assert call("label", *settings, "--output", output) == 5, "one image is broken"
    assert (output / "labels/labels.parquet").exists()
    assert "empty.jpg" in (output / "failed.csv").read_text()
    assert not (output / "model").exists()
    assert not (output / "summary.json").exists()
    return output


@pytest.fixture(scope="module")
def corrected(call: Callable[..., int], labelled: Path) -> Path:
    """The same after a person looked at the first four images of its queue: nothing but a dog."""
    assert call("review", labelled, "--top", 4) == 0
    with (labelled / "review/queue.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        row |= {"reviewed": "1", "label:cat": "0", "label:dog": "1", "label:bicycle": "0"}
    edited = labelled.parent / "edited.csv"
    with edited.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    assert call("review", labelled, "--apply", edited) == 0
    return labelled


@pytest.fixture(scope="module")
def trained(call: Callable[..., int], corrected: Path, settings: tuple[object, ...]) -> Path:
    """The same after the training went on; the labeler's address in its settings leads nowhere by then."""
    before = {path.name: path.read_bytes() for path in (corrected / "labels").glob("*.npy")}
    assert call("train", corrected, "--labeler", "127.0.0.1:1", "--labeler-wait", 1) == 5
    after = {path.name: path.read_bytes() for path in (corrected / "labels").glob("*.npy")}
    assert before.items() <= after.items(), "what the machine said stays as it was"
    return corrected


def test_a_person_s_word_is_what_was_trained_on(trained: Path) -> None:
    """Would fail if corrections were stored and never used, or moved by floor, debiasing or the label update."""
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["corrections"] == 12
    table = LabelTable.read(trained / "labels/labels.parquet")
    reviewed = table.reviewed.all(axis=1)
    assert reviewed.sum() == 4
    assert (table.probs[reviewed] == [0, 1, 0]).all()
    assert (np.load(trained / "labels/final.npy")[reviewed] != table.probs[reviewed]).any()
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3], "warm-up was not repeated"
    config = json.loads((trained / "model/config.json").read_text())
    assert set(config["ccd"]["offered_thresholds"]) == {"fixed", "prior", "otsu"}


def test_other_corrections_train_in_another_folder(
    trained: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Would fail if a finished run changed under its owner, or the new one began with other labels."""
    model = (trained / "model/model.safetensors").read_bytes()
    more = tmp_path / "more.csv"
    table = LabelTable.read(trained / "labels/labels.parquet")
    name = table.file_names[int(np.flatnonzero(~table.reviewed.any(axis=1))[0])]
    more.write_text(f"file_name,class_name,present\n{name},bicycle,1\n{name},cat,1\n")
    assert call("train", trained, "--corrections", more) == 2
    assert "--output NEW" in capsys.readouterr().err
    again = tmp_path / "again"
    nowhere = ("--labeler", "127.0.0.1:1", "--labeler-wait", 1)
    assert call("train", trained, "--corrections", more, "--epochs", 3, "--output", again, *nowhere) == 5
    assert (trained / "model/model.safetensors").read_bytes() == model
    assert name not in (trained / "review/corrections.csv").read_text()
    for name in ("initial", "final"):
        assert (again / f"labels/{name}.npy").read_bytes() == (trained / f"labels/{name}.npy").read_bytes()
    summary = json.loads((again / "summary.json").read_text())
    assert (summary["corrections"], summary["epochs_trained"]) == (14, 3)
    assert (again / "model/model.safetensors").read_bytes() != model
    # the same command goes on, which here means that there is nothing to do; another setting is refused
    assert call("train", trained, "--corrections", more, "--epochs", 3, "--output", again, *nowhere) == 5
    assert call("train", trained, "--corrections", more, "--epochs", 2, "--output", again, *nowhere) == 2
    assert "epochs: 3 -> 2" in capsys.readouterr().err
    assert call("train", trained, "--alpha", 0.5, "--output", tmp_path / "alpha") == 2
    assert "--alpha is a setting that the labels depend on" in capsys.readouterr().err


def test_review_of_a_trained_run_shows_disputes_too(trained: Path, call: Callable[..., int]) -> None:
    """Would fail if the classifier's opinion were not kept, or reviewed images came again."""
    assert call("review", trained) == 0
    with (trained / "review/queue.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16 - 4
    assert {row["reason"] for row in rows} == {"uncertain", "disputed"}


def test_exports_by_the_command_line(trained: Path, call: Callable[..., int]) -> None:
    assert call("export", trained, "--format", "csv,label-studio") == 0
    with (trained / "labels/exports/csv/long.csv").open(newline="") as file:
        sources = {row["annotation_source"] for row in csv.DictReader(file)}
    assert "human" in sources
    assert call("export", trained, "--thresholds", "otsu") == 0
    names = sorted(path.name for path in (trained / "labels/exports").iterdir())
    assert names == ["coco", "csv", "fiftyone", "hf", "label-studio", "npy"]


def test_a_run_begins_with_corrections(
    call: Callable[..., int], settings: tuple[object, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Would fail if --corrections came too late for the warm-up, or another file were mixed into the run."""
    mine, other = tmp_path / "mine.csv", tmp_path / "other.csv"
    mine.write_text("file_name,class_name,present\n00.jpg,cat,1\n")
    other.write_text("file_name,class_name,present\n00.jpg,cat,0\n")
    command = ("label", *settings, "--no-update", "--output", tmp_path / "run")
    assert call(*command, "--corrections", mine) == 5
    assert call(*command, "--corrections", mine) == 5
    assert call(*command, "--corrections", other) == 2
    assert "ccd review" in capsys.readouterr().err
    table = LabelTable.read(tmp_path / "run/labels/labels.parquet")
    assert table.reviewed.sum() == 1
    assert table.probs[table.reviewed].tolist() == [1.0]
    assert call(*command, "--method", "an") == 2


@pytest.mark.slow
def test_labels_then_training_end_with_the_bits_of_one_run(
    run_trainer: Callable[..., tuple[int, str]],
    settings: tuple[object, ...],
    fingerprint: Callable[[Path], dict[str, str]],
    tmp_path: Path,
) -> None:
    """Would fail if ending after the labels changed anything of what follows."""
    assert run_trainer("run", *settings, "--output", tmp_path / "whole")[0] == 5
    of_labels = [setting for setting in settings if setting != "--no-report"]
    assert run_trainer("label", *of_labels, "--output", tmp_path / "parts")[0] == 5
    assert run_trainer("train", tmp_path / "parts", "--no-report")[0] == 5
    assert fingerprint(tmp_path / "parts") == fingerprint(tmp_path / "whole")
