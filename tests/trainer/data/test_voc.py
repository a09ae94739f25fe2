"""Pascal VOC folders: targets of difficult objects, names in several spellings, and files that are not there."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from trainer.data.voc import CLASS_NAMES, read_voc

SPLITS = {
    "train": {
        "2008_1": [("person", False), ("diningtable", False), ("person", True)],
        "2008_2": [("tvmonitor", True)],
        "2008_3": [("person", True), ("person", False)],
        "2008_4": [],
    },
    "val": {"2008_5": [("pottedplant", False)]},
}


def read(path: Path, **options):
    return read_voc(path, **({"class_names": None, "train_split": "train", "val_split": "val"} | options))


def targets_of(image_set) -> dict[str, dict[str, int]]:
    """The entries that are not 0, by image and class."""
    return {
        sample.image_id: {CLASS_NAMES[c]: int(row[c]) for c in np.flatnonzero(row)}
        for sample, row in zip(image_set.samples, image_set.targets, strict=True)
    }


def test_objects_become_targets_of_the_spaced_names(make_voc) -> None:
    """CLIP is asked for "dining table"; were the names not matched, three classes would have no positive at all."""
    splits = read(make_voc(SPLITS))
    assert targets_of(splits.train) == {
        "2008_1": {"dining table": 1, "person": 1},
        "2008_2": {},
        "2008_3": {"person": 1},
        "2008_4": {},
    }
    assert splits.validation is not None
    assert targets_of(splits.validation) == {"2008_5": {"potted plant": 1}}
    assert splits.class_names == CLASS_NAMES
    assert splits.prompt.format("cat") == "a photo of the cat"
    assert splits.train.targets.dtype == np.int8


@pytest.mark.parametrize(("difficult", "value"), [("negative", 0), ("ignore", -1), ("positive", 1)])
def test_class_with_difficult_objects_alone_follows_the_option(make_voc, difficult, value) -> None:
    """Counting them as present moves VOC07's test set from 2,007 to 2,097 images of a person."""
    splits = read(make_voc(SPLITS), difficult=difficult)
    tv = CLASS_NAMES.index("tv monitor")
    assert splits.train.targets[1, tv] == value
    assert targets_of(splits.train)["2008_3"] == {"person": 1}


def write_class_lists(root: Path) -> None:
    """The same targets as ImageSets/Main/CLASS_SPLIT.txt, without the XML."""
    shutil.rmtree(root / "Annotations")
    for split, images in SPLITS.items():
        for name in (name.replace(" ", "") for name in CLASS_NAMES):
            lines = []
            for image_id, objects in images.items():
                marks = [hard for label, hard in objects if label == name]
                lines.append(f"{image_id} {-1 if not marks else 0 if all(marks) else 1:2d}\n")
            (root / f"ImageSets/Main/{name}_{split}.txt").write_text("".join(lines))


@pytest.mark.parametrize("difficult", ["negative", "ignore", "positive"])
def test_class_lists_and_annotations_agree(make_voc, difficult) -> None:
    """Two descriptions of one truth, which VOC ships side by side."""
    root = make_voc(SPLITS)
    annotated = read(root, difficult=difficult)
    write_class_lists(root)
    listed = read(root, difficult=difficult)
    np.testing.assert_array_equal(annotated.train.targets, listed.train.targets)
    np.testing.assert_array_equal(annotated.validation.targets, listed.validation.targets)


def test_no_truth_at_all_gives_no_targets(make_voc) -> None:
    root = make_voc(SPLITS)
    shutil.rmtree(root / "Annotations")
    assert read(root).train.targets is None


def test_own_classes_in_any_spelling(make_voc) -> None:
    splits = read(make_voc(SPLITS), class_names=("Potted_Plant", "TV-monitor", "unicorn"), difficult="positive")
    assert splits.validation.targets.tolist() == [[1, 0, 0]]
    assert splits.train.targets[1].tolist() == [0, 1, 0]


def test_second_column_of_an_image_list_is_passed_over(make_voc) -> None:
    root = make_voc(SPLITS)
    (root / "ImageSets/Main/val.txt").write_text("2008_5  1\n\n")
    assert [sample.image_id for sample in read(root).validation.samples] == ["2008_5"]


def test_png_and_jpeg_images_are_found(make_voc) -> None:
    root = make_voc(SPLITS)
    (root / "JPEGImages/2008_1.jpg").rename(root / "JPEGImages/2008_1.png")
    (root / "JPEGImages/2008_2.jpg").rename(root / "JPEGImages/2008_2.JPEG")
    assert [sample.path.name for sample in read(root).train.samples[:2]] == ["2008_1.png", "2008_2.JPEG"]


def test_parent_folders_are_looked_into(make_voc, tmp_path) -> None:
    root = make_voc(SPLITS, tmp_path / "data" / "VOCdevkit" / "VOC2012")
    assert read(root.parent).train.samples == read(root).train.samples == read(root.parents[1]).train.samples


def test_parent_of_two_voc_folders_must_be_narrowed(make_voc, tmp_path) -> None:
    """Silently taking 2007 for 2012 would train on the wrong benchmark."""
    for year in ("VOC2007", "VOC2012"):
        make_voc(SPLITS, tmp_path / "VOCdevkit" / year)
    with pytest.raises(ValueError, match=r"holds 2 VOC folders, give one of them: .*VOC2007, .*VOC2012"):
        read(tmp_path / "VOCdevkit")


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("ImageSets/Main/val.txt", r"split 'val' in .*val\.txt, which does not exist"),
        ("JPEGImages/2008_2.jpg", r"JPEGImages has no 2008_2\.jpg"),
        ("Annotations/2008_3.xml", r"Annotations/2008_3\.xml, which does not exist"),
        ("ImageSets", r"expected .*ImageSets/Main"),
        ("JPEGImages", r"expected the images in .*JPEGImages"),
    ],
)
def test_what_is_missing_is_named(make_voc, removed, message) -> None:
    root = make_voc(SPLITS)
    target = root / removed
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(ValueError, match=message) as error:
        read(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("Annotations/2008_1.xml", "<annotation><object>", r"2008_1\.xml is not XML"),
        ("ImageSets/Main/train.txt", "\n", "lists no image"),
    ],
)
def test_what_is_broken_is_named(make_voc, file, content, message) -> None:
    root = make_voc(SPLITS)
    (root / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        read(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"expected .*/cat_train\.txt"),
        ("2008_1 -1\n", r"cat_train\.txt has no line for image 2008_2"),
        ("2008_1 yes\n", r"expected an image id and 1, 0 or -1, got '2008_1 yes'"),
    ],
)
def test_class_list_that_is_missing_or_broken_is_named(make_voc, content, message) -> None:
    root = make_voc(SPLITS)
    write_class_lists(root)
    file = root / "ImageSets/Main/cat_train.txt"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(ValueError, match=message):
        read(root)


def test_unknown_rule_for_difficult_objects(make_voc) -> None:
    with pytest.raises(ValueError, match="negative, ignore, positive"):
        read(make_voc(SPLITS), difficult="maybe")
