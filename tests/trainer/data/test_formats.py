"""DATA on the command line: every known format, and what is said about others."""

import pytest
from PIL import Image

from trainer.data.formats import FORMATS, open_data

CAT = {"2008_1": [("cat", False)]}
DOG = {"2008_2": [("dog", False)]}


def test_plain_folder_needs_classes(tmp_path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert len(open_data(str(tmp_path), classes="cat, dog", cache=tmp_path).train) == 1
    assert len(open_data(f"folder:{tmp_path}", classes="cat, dog", cache=tmp_path).train) == 1
    with pytest.raises(ValueError, match="--classes"):
        open_data(str(tmp_path), classes=None, cache=tmp_path)


@pytest.mark.parametrize(
    ("spec", "files", "splits"),
    [
        ("voc12", ("train", "val", "trainval"), ("train", "val")),
        ("voc07", ("train", "val", "trainval", "test"), ("trainval", "test")),
        ("voc", ("train", "val", "trainval", "test"), ("train", "val")),
        ("voc", ("trainval", "test"), ("trainval", "test")),
        ("voc", ("train",), ("train", None)),
    ],
)
def test_voc_splits(make_voc, tmp_path, spec, files, splits) -> None:
    """The benchmark's own splits: training on another one is not comparable with the paper."""
    root = make_voc(dict.fromkeys(files, CAT))
    data = open_data(f"{spec}:{root}", classes=None, cache=tmp_path)
    assert (data.train.name, data.validation and data.validation.name) == splits


def test_options_reach_the_reader(make_voc, tmp_path) -> None:
    root = make_voc({"train": {"2008_1": [("cat", True)]}, "val": DOG})
    data = open_data(f"voc:{root}", classes="dog, cat", difficult="ignore", cache=tmp_path)
    assert data.class_names == ("dog", "cat")
    assert data.train.targets.tolist() == [[0, -1]]


def test_unknown_format_lists_the_known_ones(tmp_path) -> None:
    with pytest.raises(ValueError, match="unknown data format 'vok'") as error:
        open_data("vok:/data", classes=None, cache=tmp_path)
    assert all(name in str(error.value) for name in FORMATS)


def test_folder_whose_name_has_a_colon(tmp_path) -> None:
    folder = tmp_path / "2024-01-01 12:30"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    assert len(open_data(str(folder), classes="cat", cache=tmp_path).train) == 1


def test_demo_is_drawn_once(tmp_path, monkeypatch) -> None:
    """The second run reads what the first one drew, and finds nothing else in the cache."""
    monkeypatch.setattr("trainer.data.formats.DEMO_TRAIN", 6)
    monkeypatch.setattr("trainer.data.formats.DEMO_VAL", 3)
    first = open_data("demo", classes=None, cache=tmp_path / "cache")
    drawn = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    second = open_data("demo", classes=None, cache=tmp_path / "cache")
    assert (len(first.train), len(first.validation)) == (6, 3)
    assert first.train.samples == second.train.samples
    assert first.train.targets.any()
    assert [path.name.startswith("demo-6-3-") for path in (tmp_path / "cache").iterdir()] == [True]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == drawn
