"""One folder of images per class, as torchvision's ImageFolder has it: every image has exactly one class."""

from pathlib import Path

import numpy as np

from trainer.data.classes import columns_of, spelling_key
from trainer.data.folder import PROMPT, image_files
from trainer.data.names import spell
from trainer.data.sample import DataSplits, ImageSet, Sample


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
    train = _read_split("train", train_folder, known, columns)
    val = _read_split("val", path / "val", known, columns) if has_splits and (path / "val").is_dir() else None
    return DataSplits(names, PROMPT, train, val)


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


def _read_split(split: str, folder: Path, known: list[str], columns: list[int]) -> ImageSet:
    samples: list[Sample] = []
    classes: list[int] = []
    for name in _class_folders(folder):
        if name not in known:
            raise ValueError(f"{folder / name} is of no class that the training images have: {', '.join(known[:10])}")
        files = sorted(image_files(folder / name))
        if not files:
            raise ValueError(f"class folder {folder / name} holds no image")
        samples += (Sample(spell(file.relative_to(folder).as_posix()), file) for file in files)
        classes += [known.index(name)] * len(files)
    targets = np.eye(len(known), dtype=np.int8)[classes][:, columns]
    return ImageSet(split, tuple(samples), targets)
