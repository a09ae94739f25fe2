"""Folders of the single-positive literature's arrays: formatted_{train,val}_{images,labels,labels_obs}.npy.

https://github.com/elijahcole/single-positive-multi-label. N images, C classes.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.classes import columns_of, parse_classes
from trainer.data.names import spell
from trainer.data.sample import DataSplits, ImageSet, Sample, require_files

PROMPT = "a photo of the {}"  # paper section 4.1
CLASSES_FILE = "classes.txt"


def arrays_of(split: str) -> tuple[str, str, str]:
    """The files of a split: images, labels, observed labels."""
    images, labels, observed = (f"formatted_{split}_{content}.npy" for content in ("images", "labels", "labels_obs"))
    return images, labels, observed


def read_npy(path: Path, *, class_names: tuple[str, ...] | None) -> DataSplits:
    """Reads formatted_train_* and, where they are, formatted_val_*: images (N,) text, paths that are absolute or
    relative to the folder or to its images/; labels (N, C) of 0 and 1; labels_obs (N, C), where it is there, the
    positives that a method which learns from one positive an image is told.

    class_names: the names of the columns, or, where classes.txt tells them, some of these; None takes all of them.
    Raises ValueError, in one line, for a file that is missing or not as expected.
    """
    known = _known_classes(path, class_names)
    names = class_names or known
    columns = columns_of(names, known, str(path / CLASSES_FILE))
    train = _read_split(path, "train", len(known), columns)
    val = _read_split(path, "val", len(known), columns) if (path / arrays_of("val")[0]).is_file() else None
    return DataSplits(names, PROMPT, train, val)


def read_arrays(path: Path, split: str, num_classes: int) -> tuple[list[str], NDArray[np.int8]]:
    """The images' paths as they are listed, and their labels (N, C). Raises ValueError for arrays of another kind."""
    images_file, labels_file, _ = (path / name for name in arrays_of(split))
    images = load_array(images_file)
    if images.ndim != 1 or images.dtype.kind != "U" or len(images) == 0:
        raise ValueError(f"{images_file}: expected the images' paths, (N,) text, got {images.shape} {images.dtype}")
    return images.tolist(), _read_labels(labels_file, (len(images), num_classes))


def load_array(file: Path) -> NDArray[np.generic]:
    """Raises ValueError where there is no array; objects, which could run code, are none."""
    try:
        array: NDArray[np.generic] = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"expected an array in {file}, which does not exist") from None
    except (ValueError, EOFError) as error:
        raise ValueError(f"{file} is no plain NumPy array: {error}") from None
    return array


def _read_labels(file: Path, shape: tuple[int, ...]) -> NDArray[np.int8]:
    labels = load_array(file)
    if labels.shape != shape:
        raise ValueError(f"{file}: expected labels of shape {shape}, got {labels.shape}")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{file}: expected 0 and 1 alone, got {labels[~np.isin(labels, (0, 1))][0]}")
    return labels.astype(np.int8)


def _known_classes(path: Path, class_names: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of all columns."""
    file = path / CLASSES_FILE
    if file.is_file():
        return parse_classes(str(file))
    if class_names is None:
        raise ValueError(f"arrays hold no class names: write them to {file} or give --classes, in the columns' order")
    return class_names


def _read_split(path: Path, split: str, num_classes: int, columns: list[int]) -> ImageSet:
    listed, labels = read_arrays(path, split, num_classes)
    images_file, _, observed_file = (path / name for name in arrays_of(split))
    observed = _read_labels(observed_file, labels.shape)[:, columns] if observed_file.is_file() else None
    return ImageSet(split, _samples(path, listed, images_file), labels[:, columns], observed)


def _samples(path: Path, listed: list[str], named_by: Path) -> tuple[Sample, ...]:
    """Ids are relative to what all paths have in common where these are absolute."""
    folder = next((folder for folder in (path, path / "images") if (folder / listed[0]).is_file()), path)
    files = [folder / name for name in listed]
    absolute = all(map(os.path.isabs, listed))
    root = os.path.commonpath([file.parent for file in files]) if absolute else folder
    samples = tuple(Sample(spell(file.relative_to(root).as_posix()), file) for file in files)
    require_files(samples, named_by)
    return samples
