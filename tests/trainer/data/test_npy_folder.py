"""Arrays of the single-positive literature as a data set."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from trainer.data.formats import open_data
from trainer.label_regimes import told_labels


@pytest.fixture
def folder(tmp_path: Path, image_bytes: Callable[..., bytes]) -> Path:
    """Two training images below images/, one validation image, three unnamed classes."""
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / "images" / name).write_bytes(image_bytes(0))
    write(tmp_path, "train", ["a.jpg", "b.jpg"], [[1, 0, 1], [0, 0, 1]])
    write(tmp_path, "val", ["c.jpg"], [[0, 1, 0]])
    return tmp_path


def write(folder: Path, split: str, images: list[str], labels: object) -> None:
    np.save(folder / f"formatted_{split}_images.npy", np.array(images))
    np.save(folder / f"formatted_{split}_labels.npy", np.array(labels, np.float64))


def test_both_splits_by_the_columns_order(folder: Path) -> None:
    splits = open_data(f"npy:{folder}", classes="cat, dog, bird", cache=folder)
    assert splits.class_names == ("cat", "dog", "bird")
    assert [sample.image_id for sample in splits.train.samples] == ["a.jpg", "b.jpg"]
    assert splits.train.targets.tolist() == [[1, 0, 1], [0, 0, 1]]
    assert splits.validation is not None
    assert splits.validation.targets.tolist() == [[0, 1, 0]]
    assert splits.train.observed is None


def test_named_columns_can_be_chosen(folder: Path) -> None:
    (folder / "classes.txt").write_text("cat\ndog\nbird\n")
    splits = open_data(f"npy:{folder}", classes="bird, cat", cache=folder)
    assert splits.train.targets.tolist() == [[1, 1], [1, 0]]
    assert open_data(f"npy:{folder}", classes=None, cache=folder).class_names == ("cat", "dog", "bird")


def test_observed_positives_are_what_a_method_is_told(folder: Path) -> None:
    """Drawing others at random would be another experiment than the one that the arrays are from."""
    np.save(folder / "formatted_train_labels_obs.npy", np.array([[0.0, 0, 1], [0, 0, 1]]))
    train = open_data(f"npy:{folder}", classes="cat, dog, bird", cache=folder).train.subset([1, 0, 0])
    run = SimpleNamespace(config=SimpleNamespace(labels="single_positive", seed=0, method="ll_r"), train=train)
    told = told_labels(run, None)
    np.testing.assert_array_equal(told, np.array([[np.nan, np.nan, 1]] * 3, np.float32))


@pytest.mark.parametrize(
    ("classes", "spoil", "says"),
    [
        (None, lambda _: None, "no class names"),
        ("cat, dog", lambda _: None, r"shape \(2, 2\), got \(2, 3\)"),
        ("cat, dog, bird", lambda path: (path / "images/b.jpg").unlink(), "1 of its 2 images are missing"),
        ("cat, dog, bird", lambda path: (path / "formatted_train_labels.npy").unlink(), "does not exist"),
        ("cat, dog, bird", lambda path: write(path, "train", ["a.jpg"], [[0.5, 0, 1]]), "expected 0 and 1 alone"),
        ("cat, dog, bird", lambda path: write(path, "train", [], np.empty((0, 3))), "expected the images' paths"),
        (
            "cat, dog, bird",
            lambda path: np.save(path / "formatted_train_labels_obs.npy", np.zeros((1, 3))),
            r"labels_obs.npy: expected labels of shape \(2, 3\)",
        ),
    ],
)
def test_what_is_not_as_expected_is_one_line(
    folder: Path, classes: str | None, spoil: Callable[[Path], object], says: str
) -> None:
    spoil(folder)
    with pytest.raises(ValueError, match=says) as error:
        open_data(f"npy:{folder}", classes=classes, cache=folder)
    assert "\n" not in str(error.value)
