"""A dry run: labels of a few images, and nothing left behind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.probe import duration, probe_rows


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, image_bytes: Callable[..., bytes]) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(40):
        (folder / f"{seed:02d}[red].jpg").write_bytes(image_bytes(seed))
    (folder / "00.jpg").write_bytes(b"")
    return folder


def test_images_from_all_over_the_folder_are_shown_and_nothing_is_written(
    photos: Path, labeler, call_trainer: Callable[[list[str]], tuple[int, str]], tmp_path: Path, monkeypatch
) -> None:
    """Would fail if a try took the folder that the real run wants, or hid what cannot be read."""
    monkeypatch.chdir(tmp_path)
    places = [str(photos), "--classes", "cat, dog", "--labeler", labeler.address]
    code, text = call_trainer(["run", *places, "--dry-run"])
    assert code == 5, text
    assert "41 found" in text
    assert "left out 00.jpg: file is empty" in text
    assert "39[red].jpg" in text
    assert "31 images as tiny-resnet sees them" in text
    assert text.splitlines()[-1] == "next: the same command without --dry-run"
    assert list(tmp_path.iterdir()) == []


def test_programs_get_all_probabilities(
    photos: Path, labeler, call_trainer: Callable[[list[str]], tuple[int, str]]
) -> None:
    places = [str(photos), "--classes", "cat, dog, bird, fish", "--labeler", labeler.address]
    _, text = call_trainer(["run", *places, "--dry-run", "--json"])
    labels = [event for event in map(json.loads, text.splitlines()) if event["event"] == "label"]
    assert len(labels) == 31
    for label in labels:
        assert list(label["probabilities"]) == ["cat", "dog", "bird", "fish"]
        assert sum(label["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_rows_are_spread_evenly() -> None:
    assert probe_rows(3).tolist() == [0, 1, 2]
    assert len(probe_rows(40)) == len(set(probe_rows(40).tolist())) == 32
    rows = probe_rows(1_000_000)
    assert (len(rows), rows[0], rows[-1]) == (32, 0, 999_999)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (720, "12 min"), (12_000, "3 h 20 min"), (190_000, "2 d 5 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
