"""A plain folder of images: no targets, nothing to evaluate on. The format of someone with unlabelled photographs."""

import os
from collections.abc import Iterator
from pathlib import Path

from trainer.data.images import EXTENSIONS
from trainer.data.names import spell
from trainer.data.sample import DataSplits, ImageSet, Sample

PROMPT = "a photo of the {}"  # paper section 4.1


def read_folder(path: Path, class_names: tuple[str, ...]) -> DataSplits:
    """Every image below the folder, sorted by its id, which is its POSIX path relative to the folder, as text.

    Hidden files and folders are skipped; links to folders are not followed, so that no circle is walked.
    Raises ValueError where there is no such folder or no image in it.
    """
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    samples = [Sample(spell(file.relative_to(path).as_posix()), file) for file in image_files(path)]
    if not samples:
        raise ValueError(f"folder {path} holds no image ({', '.join(sorted(EXTENSIONS))})")
    samples.sort(key=lambda sample: sample.image_id)
    return DataSplits(class_names, PROMPT, ImageSet("train", tuple(samples)))


def image_files(folder: Path) -> Iterator[Path]:
    """Every image below the folder, in no particular order; hidden files and folders and linked folders are skipped."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from image_files(Path(entry.path))
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS and entry.is_file():
                yield Path(entry.path)
