"""One folder per class: one class per image, and folders that are not where they should be."""

from pathlib import Path

import pytest
from PIL import Image

from trainer.data.image_folder import read_image_folder


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)
    return root


def refused(root: Path, message: str, class_names: tuple[str, ...] | None = None) -> None:
    with pytest.raises(ValueError, match=message):
        read_image_folder(root, class_names=class_names)


def test_folders_are_classes(tmp_path) -> None:
    (write(tmp_path, "dog/1.png", "cat/2.png", "cat/deeper/3.png") / ".cache").mkdir()
    (tmp_path / "cat/notes.txt").write_text("no image")
    splits = read_image_folder(tmp_path, class_names=None)
    assert splits.class_names == ("cat", "dog")
    assert [sample.image_id for sample in splits.train.samples] == ["cat/2.png", "cat/deeper/3.png", "dog/1.png"]
    assert splits.train.targets.tolist() == [[1, 0], [1, 0], [0, 1]]
    assert splits.validation is None


def test_train_and_val(tmp_path) -> None:
    """A class that val/ lacks keeps its column: were val/ read by itself, "dog" would become class 0."""
    splits = read_image_folder(write(tmp_path, "train/cat/1.png", "train/dog/2.png", "val/dog/3.png"), class_names=None)
    assert splits.validation.targets.tolist() == [[0, 1]]
    assert splits.validation.samples[0].path == tmp_path / "val/dog/3.png"


def test_class_may_be_called_train(tmp_path) -> None:
    """VOC has that class; its folder holds images and no folders."""
    assert read_image_folder(write(tmp_path, "train/1.png", "bus/2.png"), class_names=None).class_names == (
        "bus",
        "train",
    )


def test_own_classes_choose_or_name_the_folders(tmp_path) -> None:
    write(tmp_path, "n01/1.png", "n02/2.png")
    assert read_image_folder(tmp_path, class_names=("N02",)).train.targets.tolist() == [[0], [1]]
    assert read_image_folder(tmp_path, class_names=("n02", "n01")).train.targets.tolist() == [[0, 1], [1, 0]]
    named = read_image_folder(tmp_path, class_names=("goldfish", "shark"))
    assert named.class_names == ("goldfish", "shark")
    assert named.train.targets.tolist() == [[1, 0], [0, 1]]


def test_half_known_classes_are_refused(tmp_path) -> None:
    """Taken by position, "n02" would stand for the folder n01."""
    refused(write(tmp_path, "n01/1.png", "n02/2.png"), "has no class 'shark'", ("n02", "shark"))


def test_what_is_odd_is_named(tmp_path) -> None:
    refused(tmp_path / "none", "there is no folder")
    refused(write(tmp_path / "flat", "1.png"), "expected one folder per class in .*flat, which holds no folder")
    refused(write(tmp_path / "val_only", "val/cat/1.png"), "expected .*/train beside .*/val")
    refused(write(tmp_path / "odd", "train/cat/1.png", "val/cow/1.png"), "val/cow is of no class .*: cat")
    refused(write(tmp_path / "flat_val", "train/cat/1.png", "val/1.png"), "expected one folder per class in .*/val")
    (write(tmp_path / "empty", "cat/1.png") / "dog").mkdir()
    refused(tmp_path / "empty", "class folder .*dog holds no image")
