"""`clip-labeler-client` as a user runs it: rows, order, broken files, exit status."""

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_labeler import Image, LabelerClient, Preprocessing

FILES = ["a.jpg", "b/c.PNG", "b/d.jpeg", "e.webp"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clip_labeler", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def rows_of(text: str) -> dict[str, list[float]]:
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["file_name", "cat", "dog, brown"]
    return {name: [float(score) for score in scores] for name, *scores in rows}


@pytest.fixture
def folder(tmp_path: Path, image_bytes: Any) -> Path:
    folder = tmp_path / "images"
    (folder / "b").mkdir(parents=True)
    for seed, name in enumerate(FILES):
        file_format = {".PNG": "PNG", ".webp": "WEBP"}.get(Path(name).suffix, "JPEG")
        (folder / name).write_bytes(image_bytes(seed, format=file_format))
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def classes(tmp_path: Path) -> str:
    path = tmp_path / "classes.txt"
    path.write_text("cat\n\n  dog, brown \n")
    return str(path)


def test_scores_are_written_in_the_order_of_the_files(labeler: Any, folder: Path, classes: str) -> None:
    """Rows would come in the order in which the labeler finishes, or not be the labeler's scores."""
    done = run("score", str(folder), "--classes", classes, "--labeler", labeler.address, "--view-size", "64")
    assert (done.returncode, done.stderr) == (0, "")
    rows = rows_of(done.stdout)
    assert list(rows) == FILES
    with LabelerClient(labeler.address) as client:
        vocabulary = client.create_vocabulary(["cat", "dog, brown"])
        images = [Image(name, (folder / name).read_bytes()) for name in FILES]
        results = client.score_image_batch(vocabulary, images, preprocessing=Preprocessing("paper", view_size=64))
    for result in results:
        assert np.array(rows[result.id], np.float32).tobytes() == result.scores.tobytes()


def test_broken_images_are_named_and_the_rest_is_scored(
    labeler: Any, folder: Path, classes: str, tmp_path: Path
) -> None:
    """One bad file would cost the whole run, or vanish silently."""
    (folder / "b" / "broken.jpg").write_bytes(b"no image")
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    output = tmp_path / "labels.csv"
    arguments = ["--classes", classes, "--labeler", labeler.address, "--output", str(output)]
    done = run("score", str(folder), *arguments, "--profile", "model")
    assert done.returncode == 5
    assert done.stdout == ""
    assert done.stderr.startswith("'b/broken.jpg' was left out: ")
    assert list(rows_of(output.read_text())) == FILES


def test_debiased_labels_stay_labels(labeler: Any, folder: Path, classes: str) -> None:
    """--debias would be ignored, or give labels over 1."""
    arguments = ["score", str(folder), "--classes", classes, "--labeler", labeler.address]
    plain, debiased = rows_of(run(*arguments).stdout), rows_of(run(*arguments, "--debias").stdout)
    assert list(debiased) == FILES
    assert all(low <= high <= 1 for name in FILES for low, high in zip(plain[name], debiased[name], strict=True))


def test_info_prints_model_and_limits(labeler: Any) -> None:
    """The user could not see which model answers."""
    done = run("info", "--labeler", labeler.address)
    assert done.returncode == 0
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert lines["native_resolution"] == "64"
    assert int(lines["max_items_per_request"]) > 0


def test_an_unreachable_labeler_is_status_4(folder: Path) -> None:
    """A script could not tell it from a mistake."""
    arguments = ["--classes", "cat, dog", "--labeler", "127.0.0.1:1", "--max-wait", "0.2"]
    done = run("score", str(folder), *arguments)
    assert done.returncode == 4
    assert "127.0.0.1:1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_mistakes_are_status_2_and_one_line(labeler: Any, folder: Path, tmp_path: Path) -> None:
    """The user would see a traceback."""
    empty = tmp_path / "empty"
    empty.mkdir()
    for directory, names, message in (
        (folder / "nowhere", "cat, dog", "is not a folder"),
        (empty, "cat, dog", "holds no image"),
        (folder, "cat, cat", "cat"),
        (folder, " , ", "class"),
    ):
        done = run("score", str(directory), "--classes", names, "--labeler", labeler.address)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert run("score", str(folder)).returncode == 2
