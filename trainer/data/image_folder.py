"""One folder of images per class, as torchvision's ImageFolder has it: every image has exactly one class."""

import os
from pathlib import Path

import numpy as np

from trainer.data.classes import columns_of, spelling_key
from trainer.data.folder import PROMPT, find_images
from trainer.data.names import spell
from trainer.data.sample import DataSplits, FolderSamples, ImageSet

Skipped = tuple[tuple[str, str], ...]


def read_image_folder(path: Path, *, class_names: tuple[str, ...] | None) -> DataSplits:
    """Reads CLASS/*.jpg, or train/CLASS/*.jpg and val/CLASS/*.jpg; images may lie deeper, hidden ones are skipped.

    class_names: the folders' names, sorted, when None. Otherwise some of those names; or as many names that no folder
    has, which then stand for the folders in sorted order (n01440764 is no word that CLIP knows).
    Raises ValueError, in one line, for a folder that is missing, empty or of a class that train/ does not have.
    """
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    has_splits = any(_subfolders(path / "train"))
    if not has_splits and any(_subfolders(path / "val")):
        raise ValueError(f"expected {path}/train beside {path}/val, each with one folder per class")
    train_folder = path / "train" if has_splits else path
    known = _class_folders(train_folder)
    names = class_names or tuple(known)
    columns = _columns(names, known, train_folder)
    train, skipped = _read_split("train", train_folder, known, columns)
    if not (has_splits and (path / "val").is_dir()):
        return DataSplits(names, PROMPT, train, skipped=skipped)
    val, others = _read_split("val", path / "val", known, columns)
    return DataSplits(names, PROMPT, train, val, skipped=skipped + others)


def _class_folders(folder: Path) -> list[str]:
    names = sorted(_subfolders(folder))
    if not names:
        raise ValueError(f"expected one folder per class in {folder}, which holds no folder")
    return names


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]


def _columns(names: tuple[str, ...], known: list[str], folder: Path) -> list[int]:
    """The position among the folders of each class."""
    if len(names) == len(known) and not {*map(spelling_key, names)} & {*map(spelling_key, known)}:
        return list(range(len(known)))
    return columns_of(names, known, str(folder))


def _read_split(split: str, folder: Path, known: list[str], columns: list[int]) -> tuple[ImageSet, Skipped]:
    names: list[bytes] = []
    classes: list[int] = []
    skipped: list[tuple[str, str]] = []
    for name in _class_folders(folder):
        if name not in known:
            raise ValueError(f"{folder / name} is of no class that the training images have: {', '.join(known[:10])}")
        found = find_images(folder / name)
        if not found.images:
            raise ValueError(f"class folder {folder / name} holds no image")
        names += (os.path.join(os.fsencode(name), file) for file in found.images)
        classes += [known.index(name)] * len(found.images)
        skipped += ((f"{spell(name)}/{file}", reason) for file, reason in found.skipped)
    targets = np.eye(len(known), dtype=np.int8)[classes][:, columns]
    return ImageSet(split, FolderSamples.of(folder, names), targets), tuple(skipped)
