"""NUS-WIDE folders: two layouts of two different splits, which must never be taken for each other."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.nuswide import CLASS_NAMES, read_nuswide

# By image: the concepts that it shows.
OFFICIAL = {
    "Train": {"actor/0001_11.jpg": {"person", "sky"}, "zebra/0002_12.jpg": {"zebra"}, "actor/0003_13.jpg": set()},
    "Test": {"beach/0004_14.jpg": {"airport", "sky"}},
}
ARRAYS = {"train": OFFICIAL["Test"], "val": OFFICIAL["Train"]}


def write_images(root: Path, names, folder: str = "Flickr") -> None:
    for name in names:
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(root / folder / name)


def write_official(root: Path) -> Path:
    for folder in ("ImageList", "ConceptsList", "Groundtruth/TrainTestLabels"):
        (root / folder).mkdir(parents=True)
    (root / "ConceptsList/Concepts81.txt").write_text("".join(f"{name}\r\n" for name in CLASS_NAMES))
    for split, images in OFFICIAL.items():
        write_images(root, images)
        lines = [name.replace("/", "\\") + "\r\n" for name in images]
        (root / f"ImageList/{split}Imagelist.txt").write_text("".join(lines))
        for concept in CLASS_NAMES:
            labels = "".join(f"{int(concept in shown)}\n" for shown in images.values())
            (root / f"Groundtruth/TrainTestLabels/Labels_{concept}_{split}.txt").write_text(labels)
    return root


def write_arrays(root: Path) -> Path:
    for split, images in ARRAYS.items():
        write_images(root, images)
        labels = [[float(concept in shown) for concept in CLASS_NAMES] for shown in images.values()]
        np.save(root / f"formatted_{split}_images.npy", list(images))
        np.save(root / f"formatted_{split}_labels.npy", labels)
        np.save(root / f"formatted_{split}_labels_obs.npy", np.zeros((2, 2)))  # of other experiments: not read
    return root


def present(image_set) -> dict[str, set[str]]:
    return {
        sample.image_id: {CLASS_NAMES[c] for c in np.flatnonzero(row)}
        for sample, row in zip(image_set.samples, image_set.targets, strict=True)
    }


def refused(root: Path, message: str, **options) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_nuswide(root, **({"class_names": None} | options))
    assert "\n" not in str(error.value)


def test_official_layout(tmp_path) -> None:
    """Backslashes and carriage returns of the official lists; images without a label stay."""
    splits = read_nuswide(write_official(tmp_path), class_names=None)
    assert present(splits.train) == OFFICIAL["Train"]
    assert present(splits.validation) == OFFICIAL["Test"]
    assert all(sample.path.is_file() for sample in splits.train.samples)
    assert splits.published[0].images == 161_789
    assert splits.prompt.format("cat") == "a photo of a cat"
    assert splits.class_names == CLASS_NAMES


def test_layout_of_the_single_positive_literature(tmp_path) -> None:
    splits = read_nuswide(write_arrays(tmp_path), class_names=None)
    assert present(splits.train) == ARRAYS["train"]
    assert present(splits.validation) == ARRAYS["val"]
    assert splits.train.targets.dtype == np.int8
    assert splits.published[0].images == 150_000


def test_concepts_are_the_official_ones() -> None:
    """The arrays' columns have no names: one name too few shifts all that follow."""
    assert len(CLASS_NAMES) == 81
    assert list(CLASS_NAMES) == sorted(CLASS_NAMES)
    assert {"birds", "cars", "whales"} <= {*CLASS_NAMES}


def test_both_layouts_must_be_narrowed(tmp_path) -> None:
    """Their train and test sets overlap: what learned on one must not be evaluated on the other."""
    write_arrays(write_official(tmp_path))
    refused(tmp_path, r"two splits of NUS-WIDE: choose nuswide-official:.* or nuswide-npy:")
    assert len(read_nuswide(tmp_path, class_names=None, layout="official").train) == 3
    assert len(read_nuswide(tmp_path, class_names=None, layout="npy").train) == 1


@pytest.mark.parametrize(("write", "targets"), [(write_official, [[1, 0], [0, 1], [0, 0]]), (write_arrays, [[1, 0]])])
def test_some_of_the_classes(tmp_path, write, targets) -> None:
    assert read_nuswide(write(tmp_path), class_names=("Sky", "zebra")).train.targets.tolist() == targets
    refused(tmp_path, "NUS-WIDE has no class 'bird'; it has 81", class_names=("bird",))


def test_images_in_images(tmp_path) -> None:
    write_official(tmp_path)
    (tmp_path / "Flickr").rename(tmp_path / "images")
    assert read_nuswide(tmp_path, class_names=None).train.samples[0].path == tmp_path / "images/actor/0001_11.jpg"


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("ImageList", r"is no NUS-WIDE folder: expected .*/ImageList or .*/formatted_train_images\.npy"),
        ("ImageList/TestImagelist.txt", r"images of split 'Test' in .*TestImagelist\.txt, which does not exist"),
        ("ConceptsList", r"names of the concepts in .*Concepts81\.txt, which does not exist"),
        ("Groundtruth/TrainTestLabels/Labels_cat_Test.txt", r"labels in .*Labels_cat_Test\.txt, which does not exist"),
        ("Flickr", r"expected the images in .*/Flickr or .*/images"),
        ("Flickr/zebra/0002_12.jpg", r"0002_12\.jpg, which .*TrainImagelist\.txt names; 1 of its 3 images"),
    ],
)
def test_what_the_official_layout_lacks_is_named(tmp_path, removed, message) -> None:
    target = write_official(tmp_path) / removed
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    refused(tmp_path, message)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("ImageList/TestImagelist.txt", "\n", r"TestImagelist\.txt, which is empty"),
        ("ConceptsList/Concepts81.txt", "airport\nunicorn\n", r"Labels_unicorn_Train\.txt, which does not exist"),
        (
            "Groundtruth/TrainTestLabels/Labels_cat_Train.txt",
            "1\n0\n",
            r"Labels_cat_Train\.txt has 2 labels, expected one for each of the 3 images",
        ),
        (
            "Groundtruth/TrainTestLabels/Labels_cat_Train.txt",
            "1\n0\n-1\n",
            r"Labels_cat_Train\.txt, line 3: expected 0 or 1, got '-1'",
        ),
    ],
)
def test_what_is_odd_in_the_official_layout_is_named(tmp_path, file, content, message) -> None:
    (write_official(tmp_path) / file).write_text(content)
    refused(tmp_path, message)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "val_images",
            np.array([1, 2, 3]),
            r"val_images\.npy: expected the images' paths, \(N,\) text, got \(3,\) int64",
        ),
        ("val_images", np.array([], "U4"), "expected the images' paths"),
        ("val_images", np.array(["a", None]), "is no plain NumPy array"),
        ("val_images", np.array(["a/9.jpg", "a/8.jpg", "a/7.jpg"]), r"a/9\.jpg, which .*; 3 of its 3 images"),
        ("val_labels", np.zeros((3, 80)), r"expected labels of shape \(3, 81\), got \(3, 80\)"),
        ("val_labels", np.full((3, 81), -1), "expected 0 and 1 alone, got -1"),
    ],
)
def test_what_is_odd_in_the_arrays_is_named(tmp_path, name, array, message) -> None:
    np.save(write_arrays(tmp_path) / f"formatted_{name}.npy", array, allow_pickle=True)
    refused(tmp_path, message)


def test_array_that_is_missing_is_named(tmp_path) -> None:
    (write_arrays(tmp_path) / "formatted_train_images.npy").unlink()
    refused(tmp_path, r"expected an array in .*formatted_train_images\.npy, which does not exist")
